import type {
  EventBody,
  ExecSettled,
  ExecStarted,
  OperationRequested,
  OperationSettled,
} from "../../protocol/events.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import type { OpenTurn } from "./state.ts";

/**
 * What a crash or a full disk left open in a Turn, brought to its end: what was not run is said to be so, and what may
 * have been is unknown, never guessed. `unknown` names further things of which that is true.
 */
export function endingsOf(
  open: OpenTurn,
  nextExec: number,
  unknown: readonly string[],
): readonly EventBody[] {
  const execs = [...open.execs.values()];
  return [
    ...[...open.approvals.keys()].map((approval): EventBody => {
      const reason = "The server stopped while it waited; nothing was run.";
      return { kind: "decision", approval, decision: "void", reason };
    }),
    ...[...open.approved.values()].map(({ approval, target, account, command }, at): EventBody => {
      const reason = "It was approved, but the server stopped before it was begun; nothing was run.";
      const what = { n: nextExec + at, target, account, command, approval };
      return settled(what, { kind: "refused", reason });
    }),
    ...execs.map(({ n, target, account, command, approval }): EventBody => {
      const what = { n, target, account, command, ...(approval && { approval }) };
      return settled(what, { kind: "unknown", reason: notKnown });
    }),
    {
      kind: "interrupted",
      unknown: [...execs.map(({ target, command }) => `${target}: ${command}`), ...unknown],
    },
    { kind: "turn_end", reason: "interrupted" },
  ];
}

/** Of an Operation that the Session saw beginning and not ending. */
export function operationEnding(
  { operation, target, verb }: OperationRequested,
  outcome: Outcome | undefined,
  durable: boolean,
): OperationSettled {
  const known = outcome ?? { kind: "unknown", reason: notKnown };
  return { kind: "operation", phase: "settled", operation, target, verb, outcome: known, durable };
}

const notKnown = "The server stopped before the answer came. It may have been carried out.";

function settled(what: Omit<ExecStarted, "kind" | "phase">, end: ExecSettled["end"]): EventBody {
  return { kind: "exec", phase: "settled", ...what, end, duration_ms: 0, bytes: 0, excerpt: "" };
}
