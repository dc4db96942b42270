import type { ConsoleNow, PendingApproval } from "../../protocol/api.ts";
import { redact } from "../audit/redact.ts";
import { wholeEnd } from "../broker/excerpt.ts";
import type { Scope } from "../config/config.ts";

/** Of stdin, for whoever may only look: as much as the record has. */
const stdinExcerptBytesMax = 8 * 1024;

/** What waits, exactly, for whoever may decide on it; the others are shown no secrets. */
export function approvalsFor(scope: Scope, all: readonly PendingApproval[]): readonly PendingApproval[] {
  return scope === "operate" ? all : all.map(forReader);
}

export function consoleFor(scope: Scope, now: ConsoleNow): ConsoleNow {
  return { ...now, approvals: approvalsFor(scope, now.approvals) };
}

function forReader(asked: PendingApproval): PendingApproval {
  const { bytes, sha256, text, base64 = "" } = asked.stdin;
  const redacted = redact(text ?? Buffer.from(base64, "base64").toString());
  const excerpt = wholeEnd(Buffer.from(redacted).subarray(0, stdinExcerptBytesMax)).toString();
  return {
    ...asked,
    command: redact(asked.command),
    why: redact(asked.why),
    stdin: { bytes, sha256, text: excerpt },
    redacted: true,
  };
}
