import type { End } from "../runner/runner.ts";
import type { ModelSign } from "../model.ts";
import type { Result } from "./messages.ts";

/** Of the agent's own words; they are for a person to read. */
const quotedCharsMax = 2000;

const whole = "The session and its log are whole.";
const without = "The power buttons work without the model.";

/** What the agent's failed result means: what happened, what is still true, what to do next. */
export function explainResult(result: Result): string {
  const { limit, text, apiStatus } = result;
  if (limit !== undefined) return explainLimit(limit);
  const said = text === "" ? "" : ` It said: ${text.slice(0, quotedCharsMax)}`;
  const failure = modelFailure(result);
  if (failure === null && typeof apiStatus === "number")
    return `The model refused the request (${apiStatus}). ${whole} Start a new session if sending it again does not help. ${without}${said}`;
  if (failure === null) return `The agent could not finish.${said} ${whole} Send the prompt again.`;
  return `${failure.what} ${whole} ${failure.mend}, then send the prompt again. ${without}${said}`;
}

/** What a Turn's result tells of the model, for those who would ask it next; null: nothing. */
export function signOf(result: Result): ModelSign | null {
  if (!result.isError) return { kind: "answered" };
  const failure = modelFailure(result);
  return failure === null ? null : { kind: failure.kind, says: `${failure.what} ${failure.mend}.` };
}

/** The model began an answer and never went on with it. */
export const fellSilent: ModelSign = {
  kind: "strained",
  says: "The model fell silent in the middle of an answer. Wait a minute.",
};

function explainLimit({ of, figure }: NonNullable<Result["limit"]>): string {
  const what =
    of === "cost"
      ? `The turn reached its limit of cost, ${figure} (BREAKGLASS_TURN_COST_MAX_USD)`
      : `The turn reached its limit of ${figure} model calls`;
  return `${what}, so it was ended. ${whole} Say what it should go on with; it keeps its memory.`;
}

interface ModelFailure {
  readonly kind: Exclude<ModelSign["kind"], "answered">;
  readonly what: string;
  readonly mend: string;
}

/** null: it was not the model that failed. */
function modelFailure({ apiStatus: status, text }: Result): ModelFailure | null {
  if (status === undefined) return null;
  if (status === null)
    return {
      kind: "unreached",
      what: "The model cannot be reached.",
      mend: "Check the network and ANTHROPIC_BASE_URL",
    };
  if (status === 401 || status === 403)
    return {
      kind: "refused",
      what: `The model refused the credential (${status}).`,
      mend: "Set a valid ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN and restart",
    };
  // A 400 in the API, told apart by its words alone.
  if (status === 402 || (status === 400 && /credit balance/i.test(text)))
    return {
      kind: "refused",
      what: `The model's account has no credit left (${status}).`,
      mend: "Add credit, or set the key of another account and restart",
    };
  if (status === 404)
    return {
      kind: "refused",
      what: "The model does not exist there (404).",
      mend: "Mend BREAKGLASS_MODEL or ANTHROPIC_BASE_URL and restart",
    };
  const strained = { kind: "strained", mend: "Wait a minute" } as const;
  if (status === 429) return { ...strained, what: "The model's rate or usage limit is reached (429)." };
  if (status === 529) return { ...strained, what: "The model is overloaded (529)." };
  if (status >= 500) return { ...strained, what: `The model failed on its side (${status}).` };
  return null;
}

/** The agent's process ended in mid-turn. */
export function explainDeath(exit: End, stderr: string): string {
  const said = stderr.trim() === "" ? "" : ` It said: ${stderr.trim().slice(-quotedCharsMax)}`;
  return `The agent's process ended in mid-turn (${describeExit(exit)}). ${whole} Commands that it had sent to a machine may still be running there: look before you repeat them. The next prompt starts it again with its memory.${said}`;
}

export function explainSilence(silenceMs: number): string {
  return `Nothing came from the agent for ${seconds(silenceMs)}, the limit for silence, so it was ended. ${whole} Commands that it had sent to a machine may still be running there: look before you repeat them. Send the prompt again; it keeps its memory. ${without}`;
}

export function explainWall(turnTimeoutMs: number): string {
  return `The turn reached its limit of ${seconds(turnTimeoutMs)} (BREAKGLASS_TURN_TIMEOUT_SECONDS), so it was ended. ${whole} Commands that it had sent to a machine may still be running there: look before you repeat them. Say what it should go on with; it keeps its memory.`;
}

export function explainOutput(charsMax: number): string {
  return `The model wrote more than ${charsMax} characters in one turn, the limit for output, so it was ended. ${whole} Commands that it had sent to a machine may still be running there: look before you repeat them. Send the prompt again, asking for less; it keeps its memory.`;
}

export function explainRefusal(error: unknown): string {
  const reason = error instanceof Error ? error.message : String(error);
  return `The agent could not be started: ${reason.slice(0, quotedCharsMax)} ${whole} Mend that, then send the prompt again. ${without}`;
}

function describeExit(exit: End): string {
  switch (exit.kind) {
    case "not_started":
      return `it did not start: ${exit.error.message}`;
    case "signalled":
      return exit.signal;
    case "lost":
      return exit.reason;
    case "exited":
      // bubblewrap answers 128 + the signal's number for its child (bwrap(1)).
      return exit.code > 128 ? `exit code ${exit.code}: signal ${exit.code - 128}` : `exit code ${exit.code}`;
  }
}

const seconds = (ms: number) => (ms < 1000 ? `${ms} ms` : `${Math.round(ms / 1000)} s`);
