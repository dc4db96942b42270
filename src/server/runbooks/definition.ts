import type { RunbookBrief } from "../../protocol/api.ts";
import type { Finding } from "../../protocol/events.ts";
import type { Condition } from "./condition.ts";
import type { Pattern } from "./pattern.ts";

/** A Runbook as it is run: read, checked, its steps resolved. How one is written: docs/runbooks.md. */
export interface Definition extends RunbookBrief {
  /** No step of it comes from the configuration. */
  readonly ours: boolean;
  readonly steps: readonly Step[];
  /** The next step when nothing was found. */
  readonly otherwise: string;
}

/** Only there, or only counted, in one of these cases. */
export type Case = "guest_silent" | "guest_answers";

export interface Step {
  readonly name: string;
  readonly on: "guest" | "power";
  /** A guest's command, or a reading Verb; the next one is tried where the one before brought no answer. */
  readonly ways: readonly [string, ...string[]];
  readonly timeoutMs: number;
  /** Exit codes that come with an answer. */
  readonly codes: readonly number[];
  /** What says that this is no answer, although the exit code does not. */
  readonly noAnswer: Pattern | null;
  /** Not every machine has it: where it is missing, nothing is unanswered. */
  readonly optional: boolean;
  /** "guest_silent": it is asked last, and only when the guest has answered nothing. */
  readonly only: "guest_silent" | null;
  /** Numbers for the conditions of all rules of the Runbook: of the group `value`, or how many lines match. */
  readonly values: ReadonlyMap<string, Pattern>;
  readonly rules: readonly Rule[];
}

export interface Rule {
  /** null: the rule is about the values, not about a line. */
  readonly line: Pattern | null;
  readonly unless: Pattern | null;
  /** All must hold. */
  readonly when: readonly Condition[];
  readonly atLeast: number;
  /** Of several lines: each is a Finding, or the first or the last stands for all. */
  readonly tell: "each" | "first" | "last";
  readonly only: Case | null;
  readonly level: Finding["level"];
  readonly says: string;
  readonly next: string | null;
}

/** `{name}` in `says` and `next`: a group of the line, a value, or `count`. */
export const nameInText = /\{([a-z][a-z0-9_]*)\}/g;
