import type { Operation } from "../../protocol/api.ts";
import type { OperationRequested, OperationSettled } from "../../protocol/events.ts";
import type { OperationId } from "../../protocol/ids.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import { verbs, type Verb } from "../../protocol/verbs.ts";
import type { Clock } from "../clock.ts";
import { busyCode } from "../power/answer.ts";
import type { Power } from "../power/power.ts";
import type { Caller } from "./caller.ts";

/** As Operations name their actor. */
const agentActor = "agent";
/** Mutating Verbs of agents per Target within an hour; one more is refused and the Operator's to decide. */
const agentVerbsPerHourMax = 2;
const hourMs = 3_600_000;

/** A sentence when agents have used up their share; the record tells, so that a restart gives no new one. */
export function overShare(power: Power, clock: Clock, target: string, verb: Verb): string | null {
  if (!verbs[verb].mutating) return null;
  const since = new Date(clock.now().getTime() - hourMs).toISOString();
  const mine = power
    .history(target, Number.POSITIVE_INFINITY)
    .filter((each) => each.by === agentActor && verbs[each.verb].mutating && each.requested_at > since);
  if (mine.length < agentVerbsPerHourMax) return null;
  return `agents have already used ${agentVerbsPerHourMax} mutating verbs on ${target} within an hour. ${verb} was not sent: tell the operator what you saw and what you recommend.`;
}

/** Runs one Verb as an Operation, its output streamed to the agent. It runs on though the agent goes away. */
export async function runVerb(
  deps: {
    readonly power: Power;
    readonly caller: Caller;
    readonly newId: () => OperationId;
    readonly record: (event: OperationRequested | OperationSettled) => Promise<void>;
  },
  target: string,
  verb: Verb,
): Promise<{ readonly code: number; readonly sentence?: string }> {
  const { power, caller, record, newId } = deps;
  const key = newId();
  await record({ kind: "operation", phase: "requested", operation: key, target, verb });
  const settle = (outcome: Outcome, durable: boolean) =>
    record({ kind: "operation", phase: "settled", operation: key, target, verb, outcome, durable });
  const stop = power.watch(({ operation, output }) => {
    if (operation.id === key && output !== undefined) caller.send("stdout", Buffer.from(output.text));
  });
  try {
    const answer = await power.submit({ target, verb, key, by: agentActor });
    if (answer.kind === "busy") {
      const { holder } = answer;
      await settle({ kind: "busy", holder: holder.id }, true);
      return {
        code: busyCode,
        sentence: `${target} is busy: ${holder.verb}, asked for by ${holder.by} at ${holder.requested_at}, is under way. ${verb} was not sent.`,
      };
    }
    if (answer.kind !== "accepted") {
      const reason = `${verb} was not sent: ${answer.kind.replaceAll("_", " ")}.`;
      await settle({ kind: "refused", reason }, true);
      return { code: 255, sentence: reason };
    }
    const operation = await answer.settled;
    const outcome = operation.outcome ?? { kind: "unknown", reason: "It settled without an outcome." };
    await settle(outcome, operation.durable);
    return { code: codeOf(operation), ...sentenceOf(operation) };
  } finally {
    stop();
  }
}

/** 0 only for what was seen to be done; 255 where nobody knows. */
function codeOf({ outcome, exit_code }: Operation): number {
  if (outcome?.kind === "done") return 0;
  return exit_code === undefined || exit_code === null || exit_code === 0 ? 255 : exit_code;
}

function sentenceOf({ outcome, durable, verb }: Operation): { sentence?: string } {
  if (outcome === undefined) return {};
  const notRecorded = durable ? "" : " It could not be recorded in time (durable: false).";
  switch (outcome.kind) {
    case "done":
      return { sentence: `${verb}: done, state ${outcome.state}.${notRecorded}` };
    case "busy":
      return { sentence: `${verb}: the hypervisor is busy with ${outcome.holder}.${notRecorded}` };
    default:
      return { sentence: `${verb}: ${outcome.kind}. ${outcome.reason}${notRecorded}` };
  }
}
