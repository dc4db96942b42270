import type { OperationId, TurnId } from "./ids.ts";
import type { Outcome } from "./outcome.ts";
import type { Verb } from "./verbs.ts";

/** Kinds that clients of the first contract know are never renamed; new ones may be added, and are ignored by them. */
export type EventBody =
  | { readonly kind: "user"; readonly text: string; readonly key?: string; readonly model?: string }
  /** The agent's own id for the conversation: what it resumes by. */
  | { readonly kind: "session"; readonly session_id: string }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "tool"; readonly name: string; readonly input: unknown; readonly tool_id: string }
  | {
      readonly kind: "tool_result";
      readonly tool_id: string;
      readonly is_error: boolean;
      readonly text: string;
      readonly cut?: Cut;
    }
  | {
      readonly kind: "result";
      readonly is_error: boolean;
      readonly result: string;
      readonly duration_ms: number;
      readonly cost_usd?: number;
    }
  | { readonly kind: "error"; readonly error: string }
  | { readonly kind: "cancelled" }
  | { readonly kind: "turn_end"; readonly reason: TurnEndReason }
  /** The server stopped in mid-turn; `unknown` names what may or may not have been carried out. */
  | { readonly kind: "interrupted"; readonly unknown: readonly string[] }
  | ExecStarted
  | ExecSettled
  | OperationRequested
  | OperationSettled;

export type TurnEndReason = "done" | "cancelled" | "failed" | "interrupted";

/** Said by whatever cut something: how much there was and where the whole is (null: nowhere). */
export interface Cut {
  readonly bytes: number;
  readonly whole: string | null;
}

/** What the Broker is about to run, on disk before it runs. `n` counts per Session, from 0. */
export interface ExecStarted {
  readonly kind: "exec";
  readonly phase: "started";
  readonly n: number;
  readonly target: string;
  readonly account: string;
  readonly command: string;
}

export interface ExecSettled {
  readonly kind: "exec";
  readonly phase: "settled";
  readonly n: number;
  readonly target: string;
  readonly account: string;
  readonly command: string;
  /** How it ended; `unknown` when the line was lost, and `refused` when it was never run. */
  readonly end:
    | { readonly kind: "exited"; readonly code: number }
    | { readonly kind: "signalled"; readonly signal: string }
    | { readonly kind: "refused"; readonly reason: string }
    | { readonly kind: "unknown"; readonly reason: string };
  readonly duration_ms: number;
  /** Bytes of stdout and stderr together. */
  readonly bytes: number;
  readonly excerpt: string;
  readonly cut?: Cut;
}

export interface OperationRequested {
  readonly kind: "operation";
  readonly phase: "requested";
  readonly operation: OperationId;
  readonly target: string;
  readonly verb: Verb;
}

export interface OperationSettled {
  readonly kind: "operation";
  readonly phase: "settled";
  readonly operation: OperationId;
  readonly target: string;
  readonly verb: Verb;
  readonly outcome: Outcome;
  readonly durable: boolean;
}

/** What every stored Event has beside its body. */
interface Stamp {
  /** Per Session, from 0, without gaps. */
  readonly id: number;
  /** ISO 8601 with milliseconds, UTC. */
  readonly at: string;
  readonly turn?: TurnId;
  /** The actor: an Operator's name, or "agent". */
  readonly by?: string;
}

export type StoredEvent = EventBody & Stamp;
export type EventKind = EventBody["kind"];

/** Unnumbered and unstored: shown while it happens, superseded by the Event that follows. Named SSE frames. */
export type Ephemeral =
  /** Live text of the open block: `text` stands at offset `from` of block `block` (UTF-16 units). */
  | {
      readonly name: "delta";
      readonly turn: TurnId;
      readonly block: number;
      readonly from: number;
      readonly text: string;
    }
  /** What the Turn waits for, for example a retry of the model. */
  | { readonly name: "activity"; readonly turn: TurnId; readonly text: string };

/** One stored Event as JSON; whoever writes a longer one cuts it and says so. */
export const eventBytesMax = 8 * 1024 * 1024;
/** UTF-8; a longer prompt is refused. */
export const promptBytesMax = 512 * 1024;
