import type { Mode, ModeNow } from "./api.ts";
import type { ApprovalId, OperationId, TurnId } from "./ids.ts";
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
  /** `by` is who stopped it; `reason` says more where it was not this Turn that they meant. */
  | { readonly kind: "cancelled"; readonly reason?: string }
  | { readonly kind: "turn_end"; readonly reason: TurnEndReason }
  /** The server stopped in mid-turn; `unknown` names what may or may not have been carried out. */
  | { readonly kind: "interrupted"; readonly unknown: readonly string[] }
  | ExecStarted
  | ExecSettled
  | OperationRequested
  | OperationSettled
  | ApprovalAsked
  | ApprovalDecided
  | ModeChanged
  | RunbookStarted
  | RunbookSettled;

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
  /** The Approval by which it runs, where it needed one. */
  readonly approval?: ApprovalId;
}

export interface ExecSettled {
  readonly kind: "exec";
  readonly phase: "settled";
  readonly n: number;
  readonly target: string;
  readonly account: string;
  readonly command: string;
  readonly approval?: ApprovalId;
  /**
   * How it ended: `ended` when we ended it and saw that nothing that can be recognised as its own is left on the Target (what
   * it has detached on purpose cannot be recognised), `unknown` when the line was lost or that could not be seen, `refused`
   * when it was never run.
   */
  readonly end:
    | { readonly kind: "exited"; readonly code: number }
    | { readonly kind: "signalled"; readonly signal: string }
    | { readonly kind: "ended"; readonly reason: string }
    | { readonly kind: "refused"; readonly reason: string }
    | { readonly kind: "unknown"; readonly reason: string };
  readonly duration_ms: number;
  /** Bytes of stdout and stderr together. */
  readonly bytes: number;
  readonly excerpt: string;
  /** Where the excerpt is not all of it; `whole` is the path of the kept output, GET /api/session/{id}/exec/{n}. */
  readonly cut?: Cut;
}

export interface OperationRequested {
  readonly kind: "operation";
  readonly phase: "requested";
  readonly operation: OperationId;
  readonly target: string;
  readonly verb: Verb;
  /** The Approval by which it runs, where it needed one. */
  readonly approval?: ApprovalId;
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

/** A request that waits for an Operator. What is shown to be decided on is in PendingApproval, exact; this is the record. */
export interface ApprovalAsked {
  readonly kind: "approval";
  readonly approval: ApprovalId;
  readonly target: string;
  /** Of the guest, or "hypervisor": then `command` is a Verb. */
  readonly account: string;
  readonly command: string;
  /** The beginning of stdin as text, and how many bytes there are in all. */
  readonly stdin: { readonly bytes: number; readonly sha256: string; readonly excerpt: string };
  /** Binds session, target, account, command and stdin: see `approvalHashed` in approvals.ts. */
  readonly sha256: string;
  readonly expires_at: string;
  /** Why it needs one, in one sentence. */
  readonly why: string;
}

export interface ApprovalDecided {
  readonly kind: "decision";
  readonly approval: ApprovalId;
  /** Only `approved` runs anything. `void`: whoever asked is gone, or what it was asked for no longer holds. */
  readonly decision: "approved" | "denied" | "expired" | "void";
  readonly reason?: string;
}

/** With `until` it is a grant: from then on `back_to` holds, without a further Event. */
interface ModeChanged {
  readonly kind: "mode";
  readonly mode: Mode;
  readonly until?: string;
  readonly back_to?: Mode;
}

/** Opens a Turn that no model answers. */
export interface RunbookStarted {
  readonly kind: "runbook";
  readonly phase: "started";
  readonly name: string;
  readonly title: string;
  readonly target: string;
  /** The client-made UUID of whoever started it: the same key starts nothing twice. */
  readonly key?: string;
}

export interface RunbookSettled {
  readonly kind: "runbook";
  readonly phase: "settled";
  readonly name: string;
  readonly title: string;
  readonly target: string;
  /** The worst first. */
  readonly findings: readonly Finding[];
  /** Steps that gave no answer, each with the reason: what they would have shown is not known. */
  readonly unanswered: readonly { readonly step: string; readonly reason: string }[];
  /** What looks wrong, in one or two sentences; says so when that is not known. */
  readonly summary: string;
  /** The likely next step, for a person to take. */
  readonly next: string;
}

/** What a threshold found, with the line that shows it. */
export interface Finding {
  readonly level: "bad" | "warning";
  readonly step: string;
  readonly says: string;
  readonly evidence: string;
  readonly next?: string;
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
  | { readonly name: "activity"; readonly turn: TurnId; readonly text: string }
  /** On every stream: the Session's mode, first at once, then at every change. */
  | ({ readonly name: "mode" } & ModeNow);

/** One stored Event as JSON; whoever writes a longer one cuts it and says so. */
export const eventBytesMax = 8 * 1024 * 1024;
/** UTF-8; a longer prompt is refused. */
export const promptBytesMax = 512 * 1024;
