import type { Notice } from "../protocol/api.ts";
import type { Problem } from "./config/config.ts";

/** What the page says all the time, built from what is true now. */
export interface NoticeFacts {
  readonly problems: readonly Problem[];
  readonly storeProblem: string | null;
  /** null also when no Target needs a key. */
  readonly keyProblem: string | null;
  /** Accounts that were seen to be more than they should. */
  readonly accountProblems: readonly string[];
  readonly demo: { readonly modelInUse: "stand-in" | "own"; readonly hasCredential: boolean } | null;
}

export function noticesOf({
  problems,
  storeProblem,
  keyProblem,
  accountProblems,
  demo,
}: NoticeFacts): readonly Notice[] {
  const notices: Notice[] = [];
  const warn = (id: string, text: string) => notices.push({ id, level: "warning", text });
  if (storeProblem !== null) warn("store", `Nothing is recorded: ${storeProblem} Verbs work.`);
  if (keyProblem !== null) warn("key", keyProblem);
  for (const [at, problem] of accountProblems.entries()) warn(`account-${at}`, problem);
  for (const { option, mend } of problems) warn(`config-${option}`, `${option}: ${mend}`);
  if (demo !== null) notices.push(...demoNotices(demo));
  return notices;
}

function demoNotices({ modelInUse, hasCredential }: NonNullable<NoticeFacts["demo"]>): readonly Notice[] {
  const machine: Notice = {
    id: "demo-machine",
    level: "info",
    text: "Demo: the machine is simulated, reached over real SSH. Something is wrong on it.",
    action: { label: "Freeze its disk", path: "/api/demo/wedge" },
  };
  if (modelInUse === "own") {
    const text = "Your model credential is in use in this demo, until the server ends.";
    return [machine, { id: "demo-model", level: "info", text }];
  }
  if (hasCredential) {
    const text =
      "No model: a scripted stand-in plays the presets. A model credential is in the environment and is not used unless you say so; it may cost money.";
    const action = { label: "Use my credential", path: "/api/demo/use-model" };
    return [machine, { id: "demo-model", level: "info", text, action }];
  }
  const text =
    "No model is configured: a scripted stand-in plays the presets. Set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN and restart.";
  return [machine, { id: "demo-model", level: "info", text }];
}
