import { existsSync } from "node:fs";

/** What runs the agent's `ssh` (broker/bin/ssh). */
const perl = "/usr/bin/perl";

/** What an agent needs on the machine where it runs and has not got: one sentence with the mend, or null. */
export function missing(executable: string | undefined): string | null {
  const why = whyMissing(executable);
  return why === null ? null : `${why} The power buttons work without it.`;
}

function whyMissing(executable: string | undefined): string | null {
  if (executable === undefined)
    return "The agent is not installed: it did not come with the packages. Install again without --omit=optional, or name its executable: BREAKGLASS_CLAUDE, or --claude of a runner.";
  if (!existsSync(executable))
    return `The agent is not installed: there is no ${executable}. Correct BREAKGLASS_CLAUDE, or --claude of a runner, or install again without --omit=optional.`;
  if (!existsSync(perl))
    return `The agent would have no ssh: there is no ${perl}. Install perl (perl-base is enough).`;
  return null;
}
