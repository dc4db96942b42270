import type { ExecStarted, OperationRequested, StoredEvent } from "../../protocol/events.ts";
import type { TurnId } from "../../protocol/ids.ts";
import { promptKeysMax } from "./limits.ts";

/** What the writer of a Session must know of its own log: a fold, rebuilt when the Session is opened. */
export interface SessionState {
  /** The Turn that has begun and not ended, and what in it has begun and not settled. */
  open: {
    turn: TurnId | undefined;
    execs: Map<number, ExecStarted>;
    operations: Map<string, OperationRequested>;
  } | null;
  /** Prompt keys that have started a Turn. */
  readonly keys: Set<string>;
  agentSession: string | undefined;
  /** The number of the next `exec`. */
  nextExec: number;
}

export function emptyState(): SessionState {
  return { open: null, keys: new Set(), agentSession: undefined, nextExec: 0 };
}

/** Folds one Event in place. */
export function note(state: SessionState, event: Omit<StoredEvent, "id" | "at">): void {
  const happened = event as StoredEvent;
  switch (happened.kind) {
    case "user":
      state.open = { turn: happened.turn, execs: new Map(), operations: new Map() };
      if (happened.key !== undefined) remember(state.keys, happened.key);
      return;
    case "session":
      state.agentSession = happened.session_id;
      return;
    case "exec":
      state.nextExec = Math.max(state.nextExec, happened.n + 1);
      if (happened.phase === "started") state.open?.execs.set(happened.n, happened);
      else state.open?.execs.delete(happened.n);
      return;
    case "operation":
      if (happened.phase === "requested") state.open?.operations.set(happened.operation, happened);
      else state.open?.operations.delete(happened.operation);
      return;
    case "turn_end":
      state.open = null;
      return;
    default:
  }
}

function remember(keys: Set<string>, key: string): void {
  keys.add(key);
  if (keys.size <= promptKeysMax) return;
  const [oldest] = keys;
  if (oldest !== undefined) keys.delete(oldest);
}
