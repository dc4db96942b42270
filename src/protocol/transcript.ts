import type {
  ApprovalAsked,
  ApprovalDecided,
  Cut,
  ExecSettled,
  RunbookSettled,
  StoredEvent,
  TurnEndReason,
} from "./events.ts";
import type { Mode } from "./api.ts";
import type { ApprovalId, OperationId, TurnId } from "./ids.ts";
import type { Outcome } from "./outcome.ts";
import type { Verb } from "./verbs.ts";

interface Placed {
  /** The id of the Event that opened the entry: a stable key for a list. */
  readonly id: number;
  readonly at: string;
  readonly turn?: TurnId;
}

/** What a reader sees, in order. An entry that waits for its end (`tool`, `exec`, `operation`) gets it in place. */
export type Entry = Placed &
  (
    | { readonly kind: "user"; readonly text: string; readonly by?: string }
    | { readonly kind: "text"; readonly text: string }
    | {
        readonly kind: "tool";
        readonly name: string;
        readonly input: unknown;
        readonly toolId: string;
        readonly result?: { readonly isError: boolean; readonly text: string; readonly cut?: Cut };
      }
    | {
        readonly kind: "exec";
        readonly n: number;
        readonly target: string;
        readonly account: string;
        readonly command: string;
        readonly approval?: ApprovalId;
        readonly settled?: ExecSettled;
      }
    | {
        readonly kind: "operation";
        readonly operation: OperationId;
        readonly target: string;
        readonly verb: Verb;
        readonly by?: string;
        readonly approval?: ApprovalId;
        readonly outcome?: Outcome;
        readonly durable?: boolean;
      }
    | {
        readonly kind: "approval";
        readonly approval: ApprovalId;
        /** Absent: it was asked before a tail; only its decision is known here. */
        readonly asked?: ApprovalAsked;
        /** Absent: it waits. */
        readonly decided?: ApprovalDecided & { readonly by?: string; readonly at: string };
      }
    | {
        readonly kind: "mode";
        readonly mode: Mode;
        readonly until?: string;
        readonly back_to?: Mode;
        readonly by?: string;
      }
    | {
        readonly kind: "runbook";
        readonly name: string;
        readonly title: string;
        readonly target: string;
        readonly by?: string;
        readonly settled?: RunbookSettled;
      }
    | { readonly kind: "error"; readonly error: string }
    | { readonly kind: "cancelled"; readonly reason?: string; readonly by?: string }
    | { readonly kind: "interrupted"; readonly unknown: readonly string[] }
    | {
        readonly kind: "turn_end";
        readonly reason: TurnEndReason;
        readonly durationMs?: number;
        readonly costUsd?: number;
      }
  );

export interface Transcript {
  /** The id of the newest Event folded in; -1 before the first. */
  readonly lastId: number;
  readonly entries: readonly Entry[];
  /** The Turn under way, if any. */
  readonly running?: { readonly turn?: TurnId; readonly since: string };
  /** What the agent resumes by. */
  readonly agentSession?: string;
  /** Held between `result` and `turn_end`, which shows them. */
  readonly cost?: { readonly durationMs: number; readonly costUsd?: number };
}

export const emptyTranscript: Transcript = { lastId: -1, entries: [] };

/** Idempotent by id: a replayed or doubled Event changes nothing. */
export function reduce(transcript: Transcript, event: StoredEvent): Transcript {
  return reduceAll(transcript, [event]);
}

/** The same fold for many Events at once, copying the entries once instead of once an Event. */
export function reduceAll(transcript: Transcript, events: readonly StoredEvent[]): Transcript {
  const draft: Draft = { ...transcript, entries: [...transcript.entries] };
  for (const event of events) {
    if (event.id <= draft.lastId) continue;
    apply(draft, event);
    draft.lastId = event.id;
  }
  return draft.lastId === transcript.lastId ? transcript : draft;
}

type Draft = { -readonly [K in keyof Transcript]: Transcript[K] } & { entries: Entry[] };

function apply(draft: Draft, event: StoredEvent): void {
  const placed: Placed = { id: event.id, at: event.at, ...(event.turn && { turn: event.turn }) };
  const by = event.by === undefined ? {} : { by: event.by };
  // The prompt itself may lie before a tail: whatever belongs to a Turn shows that it runs.
  if (event.turn !== undefined && draft.running?.turn !== event.turn)
    draft.running = { since: event.at, turn: event.turn };
  switch (event.kind) {
    case "user":
      draft.running ??= { since: event.at };
      draft.entries.push({ ...placed, kind: "user", text: event.text, ...by });
      return;
    case "session":
      draft.agentSession = event.session_id;
      return;
    case "text":
      draft.entries.push({ ...placed, kind: "text", text: event.text });
      return;
    case "tool":
      draft.entries.push({
        ...placed,
        kind: "tool",
        name: event.name,
        input: event.input,
        toolId: event.tool_id,
      });
      return;
    case "tool_result": {
      const result = { isError: event.is_error, text: event.text, ...(event.cut && { cut: event.cut }) };
      const asked = replaceLast(
        draft,
        "tool",
        (entry) => entry.toolId === event.tool_id,
        (entry) => ({ ...entry, result }),
      );
      // The call itself may lie before a tail: its result is shown all the same.
      if (!asked)
        draft.entries.push({ ...placed, kind: "tool", name: "", input: null, toolId: event.tool_id, result });
      return;
    }
    case "exec": {
      const { n, target, account, command, approval } = event;
      const opened: Entry = {
        ...placed,
        kind: "exec",
        n,
        target,
        account,
        command,
        ...(approval && { approval }),
      };
      if (event.phase === "started") draft.entries.push(opened);
      else if (
        !replaceLast(
          draft,
          "exec",
          (entry) => entry.n === n,
          (entry) => ({ ...entry, settled: event }),
        )
      )
        draft.entries.push({ ...opened, settled: event });
      return;
    }
    case "operation": {
      const { operation, target, verb } = event;
      const opened: Entry = { ...placed, kind: "operation", operation, target, verb, ...by };
      if (event.phase === "requested") {
        const { approval } = event;
        draft.entries.push({ ...opened, ...(approval && { approval }) });
        return;
      }
      const end = { outcome: event.outcome, durable: event.durable };
      if (
        !replaceLast(
          draft,
          "operation",
          (entry) => entry.operation === operation,
          (entry) => ({ ...entry, ...end }),
        )
      )
        draft.entries.push({ ...opened, ...end });
      return;
    }
    case "approval":
      draft.entries.push({ ...placed, kind: "approval", approval: event.approval, asked: event });
      return;
    case "decision": {
      const { approval } = event;
      const asked = replaceLast(
        draft,
        "approval",
        (entry) => entry.approval === approval,
        (entry) => ({ ...entry, decided: event }),
      );
      if (!asked) draft.entries.push({ ...placed, kind: "approval", approval, decided: event });
      return;
    }
    case "mode": {
      const { mode, until, back_to } = event;
      draft.entries.push({
        ...placed,
        kind: "mode",
        mode,
        ...(until !== undefined && { until }),
        ...(back_to !== undefined && { back_to }),
        ...by,
      });
      return;
    }
    case "runbook": {
      const { name, title, target } = event;
      const opened: Entry = { ...placed, kind: "runbook", name, title, target, ...by };
      if (event.phase === "started") {
        draft.entries.push(opened);
        return;
      }
      // What was found is read after the commands that found it: the entry moves to its end.
      const begun = draft.entries.findLastIndex(
        (entry) => entry.kind === "runbook" && entry.turn === event.turn,
      );
      if (begun >= 0) draft.entries.splice(begun, 1);
      draft.entries.push({ ...opened, settled: event });
      return;
    }
    case "result":
      draft.cost = {
        durationMs: event.duration_ms,
        ...(event.cost_usd !== undefined && { costUsd: event.cost_usd }),
      };
      return;
    case "error":
      draft.entries.push({ ...placed, kind: "error", error: event.error });
      return;
    case "cancelled":
      draft.entries.push({
        ...placed,
        kind: "cancelled",
        ...(event.reason !== undefined && { reason: event.reason }),
        ...by,
      });
      return;
    case "interrupted":
      draft.entries.push({ ...placed, kind: "interrupted", unknown: event.unknown });
      return;
    case "turn_end":
      draft.entries.push({ ...placed, kind: "turn_end", reason: event.reason, ...draft.cost });
      delete draft.running;
      delete draft.cost;
      return;
    default:
      // A kind from a newer server: it has its id, and nothing here to show.
      event satisfies never;
  }
}

/** Answers whether an entry was found; searched from the end, where what waits is. */
function replaceLast<K extends Entry["kind"]>(
  draft: Draft,
  kind: K,
  matches: (entry: Extract<Entry, { kind: K }>) => boolean,
  settle: (entry: Extract<Entry, { kind: K }>) => Entry,
): boolean {
  const at = draft.entries.findLastIndex(
    (entry) => entry.kind === kind && matches(entry as Extract<Entry, { kind: K }>),
  );
  if (at < 0) return false;
  draft.entries[at] = settle(draft.entries[at] as Extract<Entry, { kind: K }>);
  return true;
}
