import type { Ssh, SshFinished } from "../ssh/ssh.ts";
import { script } from "./end-there-script.ts";

/** What a second channel saw of a command that it was to end. */
export type EndedThere =
  /** Nothing that can be recognised as its own is left: see the script for what cannot. */
  | { readonly kind: "gone" }
  /** What is known, in a sentence. */
  | { readonly kind: "unknown"; readonly because: string };

/** For all of it, connecting included; then nothing is known. */
const endMsMax = 5_000;
/** Of what the guest says. */
const answerBytesMax = 16 * 1024;
/** A command without output that was sent less than this ago may have its shell yet to come: it is looked for twice. */
const youngMsMax = 10_000;
/** The guest's clock and ours may differ by so much, and by one part in fifty, in how long ago the command was sent. */
const slackSeconds = 5;

/** The command as it is sent: whatever it starts carries the mark. Shells of POSIX's kind and fish take this; csh does not. */
export function marked(mark: string, command: string): string {
  return `export BREAKGLASS_EXEC=${mark}\n${command}`;
}

/** Kills what runs under a mark and in its ssh session, and looks until nothing of that is left. Never rejects. */
export async function endThere(
  ssh: Pick<Ssh, "run">,
  account: { readonly alias: string; readonly user: string },
  {
    mark,
    sentMsAgo,
    silent,
  }: { readonly mark: string; readonly sentMsAgo: number; readonly silent: boolean },
): Promise<EndedThere> {
  const begun = performance.now();
  const seconds = Math.ceil((sentMsAgo / 1_000) * 1.02) + slackSeconds;
  const young = silent && sentMsAgo < youngMsMax ? 1 : 0;
  const ask = (shell: string, looksTwice: number) =>
    ssh.run(account.alias, [`exec ${shell} -s breakglass-end-there ${mark} ${seconds} ${looksTwice}`], {
      input: script,
      outputBytesMax: answerBytesMax,
      deadlineMs: Math.max(1, endMsMax - (performance.now() - begun)),
      urgent: true,
    });
  const seen = answerIn(await ask("/bin/sh", young));
  if (seen.kind === "gone" || !seen.notAllowed || account.user === "root") return seen;
  // What sudo has started belongs to root. An account without sudo is not asked for more than it has: it sees its own.
  const bySudo = answerIn(await ask("sudo -n /bin/sh", 0));
  return bySudo.kind === "gone" ? bySudo : seen;
}

function answerIn({ exit, stdout, deadlinePassed }: SshFinished): EndedThere & { notAllowed?: boolean } {
  const unknown = (because: string, notAllowed = false): ReturnType<typeof answerIn> => ({
    kind: "unknown",
    because,
    notAllowed,
  });
  const said = stdout.split("\n").findLast((line) => line.startsWith("breakglass: "));
  if (said === "breakglass: nothing is left") return { kind: "gone" };
  if (said === "breakglass: nothing is left in sight")
    return unknown("Its account sees no processes of others, so that it may go on by another account.", true);
  const [, left] = /^breakglass: still there:((?: \d{1,10}){1,1000})$/.exec(said ?? "") ?? [];
  if (left !== undefined) return unknown(`These processes could not be ended:${left}.`, true);
  if (exit.kind === "not_sent") return unknown(exit.reason);
  return unknown(
    deadlinePassed
      ? `Nothing was seen within ${endMsMax / 1_000} s over a second channel.`
      : "A second channel did not say what became of it.",
  );
}
