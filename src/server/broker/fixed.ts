import type { ExecSettled } from "../../protocol/events.ts";

/** A fixed text that an Operator has asked for: a step of a Runbook. */
export interface FixedAsk {
  readonly target: string;
  readonly on: "guest" | "power";
  /** For the guest's shell, or "status" or "forensics". */
  readonly command: string;
  /** Then it is ended. */
  readonly timeoutMs: number;
  /** The Operator, for the record. */
  readonly by: string;
  readonly signal: AbortSignal;
}

export interface FixedAnswer {
  /** Of its `exec` events. */
  readonly n: number;
  readonly end: ExecSettled["end"];
  /** At most 256 KiB. */
  readonly output: string;
}
