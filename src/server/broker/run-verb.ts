import type { Operation } from "../../protocol/api.ts";
import type { OperationRequested, OperationSettled } from "../../protocol/events.ts";
import type { ApprovalId, OperationId } from "../../protocol/ids.ts";
import type { Outcome } from "../../protocol/outcome.ts";
import { verbs, type Verb } from "../../protocol/verbs.ts";
import type { Clock } from "../clock.ts";
import { busyCode } from "../power/answer.ts";
import type { Power, Submitted } from "../power/power.ts";
import type { Caller } from "./caller.ts";

/** As Operations name their actor. */
const agentActor = "agent";
/** Mutating Verbs of agents per Target within an hour; for one more an Operator is asked. */
const agentVerbsPerHourMax = 2;
/** Of agents per Target within an hour; one more is refused: they would push mutating Verbs out of what the power room knows. */
const agentForensicsPerHourMax = 20;
const hourMs = 3_600_000;

/**
 * A sentence when agents have used up their share of mutating Verbs; the record tells, so that a restart gives no new one, and
 * where it does not tell none is left.
 */
export function overShare(power: Power, clock: Clock, target: string): string | null {
  if (!power.remembers())
    return `How many verbs agents have used on ${target} within the hour could not be read from the record.`;
  const used = usedBy(power, clock, target, (verb) => verbs[verb].mutating);
  return used < agentVerbsPerHourMax ? null : `Agents have used ${used} verbs on ${target} within the hour.`;
}

/** The same of forensics, which nobody is asked about. */
export function overForensics(power: Power, clock: Clock, target: string): string | null {
  if (usedBy(power, clock, target, (verb) => verb === "forensics") < agentForensicsPerHourMax) return null;
  return `agents have gathered forensics of ${target} ${agentForensicsPerHourMax} times within the hour, which is as often as they may. Nothing was sent: read what was gathered, or use status.`;
}

function usedBy(power: Power, clock: Clock, target: string, counts: (verb: Verb) => boolean): number {
  const since = new Date(clock.now().getTime() - hourMs).toISOString();
  return power
    .history(target, Number.POSITIVE_INFINITY)
    .filter((each) => each.by === agentActor && counts(each.verb) && each.requested_at > since).length;
}

export interface VerbEnd {
  readonly code: number;
  readonly sentence?: string;
}

/** An answer in place of a question to the Operator: it could not be carried out anyway. */
export function busyNow(power: Power, target: string, verb: Verb): VerbEnd | null {
  const holder = verbs[verb].mutating ? power.current(target) : null;
  return holder && busy(target, verb, holder);
}

/** What the Operator sees as the machine's last mutating Operation: a Verb that they approve is bound to it. */
export function lastSeen(power: Power, target: string): OperationId | null {
  return (power.current(target) ?? power.last(target))?.id ?? null;
}

/** Runs one Verb as an Operation, its output streamed to the agent. It runs on though the agent goes away. */
export async function runVerb(
  deps: {
    readonly power: Power;
    readonly caller: Caller;
    readonly newId: () => OperationId;
    /** False when it is not on record in time. */
    readonly record: (event: OperationRequested | OperationSettled) => Promise<boolean>;
    /** Asked at the last moment: a sentence when it may not be sent any more. */
    readonly forbidden: () => string | null;
  },
  target: string,
  verb: Verb,
  approved?: { readonly approval: ApprovalId; readonly after: OperationId | null },
): Promise<VerbEnd> {
  const { power, caller, record, newId, forbidden } = deps;
  const key = newId();
  const facts = { kind: "operation", operation: key, target, verb } as const;
  const settle = (outcome: Outcome, durable: boolean) =>
    record({ ...facts, phase: "settled", outcome, durable });
  const approval = approved && { approval: approved.approval };
  if (!(await record({ ...facts, phase: "requested", ...approval }))) {
    // Should it come to the record after all, its end stands behind it.
    void settle({ kind: "refused", reason: "It could not be recorded in time, and was not sent." }, true);
    return { code: 255, sentence: notRecorded(verb) };
  }
  const stop = power.watch(({ operation, output }) => {
    if (operation.id === key && output !== undefined) caller.send("stdout", Buffer.from(output.text));
  });
  try {
    const why = forbidden();
    if (why !== null) {
      const reason = `${verb} was not sent: ${why}`;
      await settle({ kind: "refused", reason }, true);
      return { code: 255, sentence: reason };
    }
    const answer = await power.submit({ target, verb, key, by: agentActor, after: approved?.after });
    if (answer.kind === "busy") {
      await settle({ kind: "busy", holder: answer.holder.id }, true);
      return busy(target, verb, answer.holder);
    }
    if (answer.kind !== "accepted") {
      const reason = notAccepted(answer, target, verb);
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

function notRecorded(verb: Verb): string {
  return `${verb} could not be recorded, so that it was not sent. Tell the operator: the record's disk does not answer.`;
}

function busy(target: string, verb: Verb, holder: Operation): VerbEnd {
  return {
    code: busyCode,
    sentence: `${target} is busy: ${holder.verb}, asked for by ${holder.by} at ${holder.requested_at}, is under way. ${verb} was not sent.`,
  };
}

function notAccepted(
  answer: Exclude<Submitted, { kind: "accepted" | "busy" }>,
  target: string,
  verb: Verb,
): string {
  switch (answer.kind) {
    case "stale": {
      const { latest } = answer;
      return `${verb} was not sent: since the operator was asked, ${target} has had a ${latest.verb} by ${latest.by} (${latest.requested_at}). Ask for status, and look whether it is still needed.`;
    }
    case "mismatch":
    case "unknown_target":
    case "no_power":
      return `${verb} was not sent: ${answer.kind.replaceAll("_", " ")}.`;
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
