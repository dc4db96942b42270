import type { ExecSettled } from "../../protocol/events.ts";

/** One fixed question to one side of a Target. Whoever gives `Ask` knows who asks, and ends it when the Turn is stopped. */
export interface Question {
  readonly target: string;
  readonly on: "guest" | "power";
  /** The guest's command, or "status" or "forensics". */
  readonly command: string;
  readonly timeoutMs: number;
}

export interface Answer {
  /** Of its `exec` Event. */
  readonly n: number;
  readonly end: ExecSettled["end"];
  readonly output: string;
}

export type Ask = (question: Question) => Promise<Answer>;
