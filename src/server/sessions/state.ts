import type { ModeNow } from "../../protocol/api.ts";
import type {
  ApprovalAsked,
  ApprovalDecided,
  ExecStarted,
  OperationRequested,
  StoredEvent,
  TurnEndReason,
} from "../../protocol/events.ts";
import type { ApprovalId, OperationId, TurnId } from "../../protocol/ids.ts";
import { approvalsKnownMax, promptKeysMax } from "./limits.ts";

/** What the writer of a Session must know of its own log: a fold, rebuilt when the Session is opened. */
export interface SessionState {
  /** The Turn that has begun and not ended, and what in it has begun and not settled. */
  open: OpenTurn | null;
  /** The newest Turn that has ended. */
  last: { readonly turn: TurnId; readonly end: TurnEndReason } | undefined;
  /** Asked for and not settled: a Verb goes on although its Turn has ended. */
  readonly operations: Map<OperationId, OperationRequested & { readonly turn: TurnId | undefined }>;
  /** How requests for an Approval ended: the newest. */
  readonly decided: Map<ApprovalId, SettledApproval>;
  /** Prompt keys that have started a Turn. */
  readonly keys: Set<string>;
  /** null: nobody has set it. */
  mode: ModeNow | null;
  agentSession: string | undefined;
  /** The number of the next `exec`. */
  nextExec: number;
}

export interface OpenTurn {
  readonly turn: TurnId | undefined;
  readonly execs: Map<number, ExecStarted>;
  /** Without a decision. */
  readonly approvals: Map<ApprovalId, ApprovalAsked>;
  /** Approved, and what they were asked for has not begun. */
  readonly approved: Map<ApprovalId, ApprovalAsked>;
}

export interface SettledApproval {
  readonly decision: ApprovalDecided["decision"];
  readonly by?: string;
  readonly at: string;
}

export function emptyState(): SessionState {
  return {
    open: null,
    last: undefined,
    operations: new Map(),
    decided: new Map(),
    keys: new Set(),
    mode: null,
    agentSession: undefined,
    nextExec: 0,
  };
}

/** Folds one Event in place. */
export function note(state: SessionState, event: Omit<StoredEvent, "id">): void {
  const happened = event as StoredEvent;
  switch (happened.kind) {
    case "user":
      return begin(state, happened);
    case "runbook":
      if (happened.phase === "started") begin(state, happened);
      return;
    case "session":
      state.agentSession = happened.session_id;
      return;
    case "mode": {
      const { mode, until, back_to } = happened;
      state.mode = { mode, ...(until !== undefined && { until }), ...(back_to !== undefined && { back_to }) };
      return;
    }
    case "approval":
      state.open?.approvals.set(happened.approval, happened);
      return;
    case "decision": {
      const { approval, decision, by, at } = happened;
      const asked = state.open?.approvals.get(approval);
      // A later one wins: what was approved may have become void before it was begun.
      state.open?.approved.delete(approval);
      if (asked !== undefined && decision === "approved") state.open?.approved.set(approval, asked);
      state.open?.approvals.delete(approval);
      state.decided.set(approval, { decision, at, ...(by !== undefined && { by }) });
      forgetOldest(state.decided, approvalsKnownMax);
      return;
    }
    case "exec":
      state.nextExec = Math.max(state.nextExec, happened.n + 1);
      if (happened.approval !== undefined) state.open?.approved.delete(happened.approval);
      if (happened.phase === "started") state.open?.execs.set(happened.n, happened);
      else state.open?.execs.delete(happened.n);
      return;
    case "operation":
      if (happened.phase === "requested") {
        if (happened.approval !== undefined) state.open?.approved.delete(happened.approval);
        state.operations.set(happened.operation, { ...happened, turn: happened.turn });
      } else {
        state.operations.delete(happened.operation);
      }
      return;
    case "turn_end":
      if (happened.turn !== undefined) state.last = { turn: happened.turn, end: happened.reason };
      state.open = null;
      return;
    default:
  }
}

function begin(state: SessionState, { turn, key }: { readonly turn?: TurnId; readonly key?: string }): void {
  state.open = { turn, execs: new Map(), approvals: new Map(), approved: new Map() };
  if (key === undefined) return;
  state.keys.add(key);
  forgetOldest(state.keys, promptKeysMax);
}

function forgetOldest(all: Set<string> | Map<string, unknown>, max: number): void {
  if (all.size <= max) return;
  const [oldest] = all.keys();
  if (oldest !== undefined) all.delete(oldest);
}
