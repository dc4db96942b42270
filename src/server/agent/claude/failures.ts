import type { End } from "../runner/runner.ts";
import type { Result } from "./messages.ts";

/** Of the agent's own words; they are for a person to read. */
const quotedCharsMax = 2000;

const whole = "The session and its log are whole.";
const without = "The power buttons work without the model.";

/** What the agent's failed result means: what happened, what is still true, what to do next. */
export function explainResult({ apiStatus, text }: Result): string {
  const said = text === "" ? "" : ` It said: ${text.slice(0, quotedCharsMax)}`;
  if (apiStatus === undefined) return `The agent could not finish.${said} ${whole} Send the prompt again.`;
  const [what, mend] = explainStatus(apiStatus);
  return `${what} ${whole} ${mend} ${without}${said}`;
}

function explainStatus(status: number | null): readonly [string, string] {
  if (status === null)
    return [
      "The model cannot be reached.",
      "Check the network and ANTHROPIC_BASE_URL, then send the prompt again.",
    ];
  if (status === 401 || status === 403)
    return [
      `The model refused the credential (${status}).`,
      "Set a valid ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, then send the prompt again.",
    ];
  if (status === 404)
    return [
      "The model does not exist there (404).",
      "Check BREAKGLASS_MODEL and ANTHROPIC_BASE_URL, then send the prompt again.",
    ];
  if (status === 429)
    return [
      "The model's rate or usage limit is reached (429).",
      "Wait a minute, then send the prompt again.",
    ];
  if (status === 529) return ["The model is overloaded (529).", "Wait a minute, then send the prompt again."];
  if (status >= 500)
    return [`The model failed on its side (${status}).`, "Wait a minute, then send the prompt again."];
  return [
    `The model refused the request (${status}).`,
    "Start a new session if sending it again does not help.",
  ];
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
