import type { ApprovalDecided } from "../../protocol/events.ts";
import type { NotWhole } from "./caller.ts";

/** What the agent is told when nothing was run. */
export function notRun({
  decision,
  by,
  reason,
}: Pick<ApprovalDecided, "decision" | "reason"> & { readonly by?: string }): string {
  switch (decision) {
    case "denied":
      return `${by ?? "the operator"} denied this. Nothing was run. Do not ask again for the same: tell the operator what you wanted to do and why, and go on with what needs no approval.`;
    case "expired":
      return "nobody decided on this in time. Nothing was run. Do not ask again for the same: tell the operator what you want to run and why, and ask when they have answered.";
    case "void":
      return `this is void: ${reason ?? "what it was asked for no longer holds."} Nothing was run. Tell the operator what you wanted to do and why.`;
    case "approved":
      throw new Error("What was approved is run.");
  }
}

export const deniedBefore =
  "the operator has denied exactly this in this turn. Nothing was run, and nobody was asked again: tell the operator what you wanted to do and why.";

export const stdinRefused = {
  too_long:
    "its stdin is longer than what an operator can be shown (64 KiB), and they must see all of it. Nothing was run: split it into smaller commands, or use ssh -n where it needs no stdin.",
  no_end:
    "its stdin did not end within 10 seconds, and an operator must see all of it before it runs. Nothing was run: use ssh -n or < /dev/null where it needs no stdin, or give it a file.",
  called_off: "it was called off. Nothing was run.",
} as const satisfies Record<NotWhole, string>;

export const notAsked =
  "this could not be recorded, so that no operator was asked. Nothing was run. Tell the operator: the record's disk does not answer.";

/** On record, and told to the Operator who decided. */
export const notInTime = "It could not be recorded in time.";

export function tooLong(bytesMax: number): string {
  return `the command is longer than ${bytesMax} bytes, and an operator would have to read all of it. Nothing was run: split it into smaller ones.`;
}

export function tooMany(max: number, what: string): string {
  return `${max} ${what} wait for an operator already, which is as many as can. Nothing was run: wait until some of them are decided.`;
}

export function tooMuchAtOnce(bytesMax: number, whose: string): string {
  return `this would be more than ${bytesMax / 1024} KiB of commands and stdin ${whose} that wait for an operator, which is more than they could read. Nothing was run: wait until some of it is decided, and ask in smaller pieces.`;
}

export function tooManyLines(max: number): string {
  return `the command and its stdin have more than ${max} lines, and an operator would have to read all of them. Nothing was run: ask in smaller pieces, one step at a time.`;
}

export function tooManyNamed(max: number): string {
  return `the command and its stdin hold more than ${max} characters that can only be shown by their names, as control characters and carriage returns are, and an operator must see all of it. Nothing was run: ask in smaller pieces, or take those characters out (end lines with \\n alone, send binary data as base64).`;
}

export function tooOften(max: number): string {
  return `this turn has asked an operator ${max} times, which is as often as it may. Nothing was run: tell the operator what is left to do and why.`;
}
