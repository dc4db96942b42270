import type { Operation } from "../api.ts";
import { hostResult } from "../outcome.ts";
import { parseVerb } from "../verbs.ts";
import { humanLines, outcomeWords, verdictWords } from "../words.ts";
import { keptMax, partsMax, see, type ReportDraft } from "./draft.ts";
import { all, keeping, size } from "./keeping.ts";
import { cut, orNull, textMax } from "./recorded.ts";
import type { Kept, Moment, Report, ReportApproval, ReportCommand, ReportOperation } from "./report.ts";

/** What stands beside the Session's own log. */
export interface ReportFacts {
  readonly session: Report["session"];
  readonly madeAt: string;
  /** In the Session's time, on its Targets, whoever asked for them; oldest first. */
  readonly operations: readonly Operation[];
  readonly damaged: number;
  readonly missing: string | null;
}

/** Never throws. The draft is used up. */
export function finishReport(draft: ReportDraft, facts: ReportFacts): Report {
  const operations = keeping<ReportOperation>(keptMax.operations);
  for (const operation of facts.operations) {
    operations.add(operationOf(operation));
    seeOperation(draft, operation);
  }
  const approvals = draft.approvals.kept();
  const commands = draft.commands.kept();
  return {
    session: facts.session,
    made_at: facts.madeAt,
    in_short: inShort(draft, facts.operations, commands, approvals),
    stands: {
      running: draft.running,
      waiting: all(approvals).filter(({ decided }) => decided === null).length,
      targets: [...draft.seen].map(([target, { first, last }]) => ({
        target,
        before: [...first.values()],
        now: [...last.values()],
      })),
    },
    runbooks: draft.runbooks,
    agent: draft.agent && { at: draft.agent.at, text: draft.agent.text },
    commands,
    approvals,
    operations: operations.kept(),
    modes: draft.modes.kept(),
    timeline: withOperations(draft.timeline.kept(), facts.operations),
    cost: draft.cost,
    integrity: {
      head: draft.head,
      events: draft.events,
      damaged: facts.damaged,
      not_understood: draft.notUnderstood,
      missing: facts.missing,
    },
  };
}

function inShort(
  draft: ReportDraft,
  operations: readonly Operation[],
  commands: Kept<ReportCommand>,
  approvals: Kept<ReportApproval>,
): readonly string[] {
  const { prompts, cost, ends, refused, runbooksLeftOut } = draft;
  const runbooks = draft.runbooks.length + runbooksLeftOut;
  const open = all(commands).filter(({ ended }) => ended === null).length;
  const decided = (word: string) => all(approvals).filter((each) => each.decided?.decision === word).length;
  const changed = operations.filter(({ verb }) => verb !== "status" && verb !== "forensics");
  const notKnown = operations.filter(({ outcome }) => outcome === undefined || outcome.kind === "unknown");
  const badEnds = [...ends]
    .filter(([reason]) => reason !== "done")
    .map(([reason, times]) => `${times} ${reason}`);
  return [
    `${counted(prompts.count, "prompt")}, ${counted(runbooks, "runbook")}, ${counted(cost.turns, "turn")} ended${badEnds.length > 0 ? ` (${badEnds.join(", ")})` : ""}.`,
    `${counted(size(commands), "command")} asked for, ${refused} of them not run${open > 0 ? `; the end of ${open} is not on record` : ""}.`,
    ...(size(approvals) > 0
      ? [
          `${counted(size(approvals), "approval")} asked: ${decided("approved")} approved, ${decided("denied")} denied, ${decided("expired")} expired, ${decided("void")} void.`,
        ]
      : []),
    changed.length === 0
      ? "The power was not touched in its time."
      : `The power was touched: ${changed
          .map(({ verb, target, by }) => `${verb} on ${target} by ${by}`)
          .slice(0, 10)
          .join("; ")}${changed.length > 10 ? `; and ${changed.length - 10} more` : ""}.`,
    ...(notKnown.length > 0 ? [`How ${counted(notKnown.length, "operation")} ended is not known.`] : []),
  ];
}

function operationOf(operation: Operation): ReportOperation {
  const { id, verb, target, by, requested_at, settled_at, outcome, durable, output, forensics } = operation;
  const words = outcome && outcomeWords(verb, outcome);
  return {
    id,
    verb,
    target,
    by,
    at: requested_at,
    settled_at: settled_at ?? null,
    says: words === undefined ? "Its end is not known yet." : `${words.headline} ${words.detail}`.trim(),
    durable,
    output: cut(humanLines(output), textMax.output),
    forensics:
      forensics === undefined
        ? null
        : {
            id: forensics.id,
            verdict: forensics.verdict,
            means: forensics.verdict === null ? null : verdictWords(forensics.verdict).text,
            screen: forensics.screen,
            probes: forensics.probes
              .slice(0, partsMax)
              .map((each) => ({ probe: each.probe, end: each.end, output: cut(each.output, textMax.probe) })),
          },
  };
}

/** What the hypervisor saw before and after; where it does not say, nothing is guessed. */
function seeOperation(draft: ReportDraft, operation: Operation): void {
  const { verb, target, requested_at, settled_at, outcome, output } = operation;
  const result = hostResult(output);
  const before = orNull(result?.state_before);
  if (before !== null) see(draft, target, "power", requested_at, `"${before}"`, `before ${verb}`);
  const at = settled_at ?? requested_at;
  const after = orNull(result?.state_after) ?? stateAfter(outcome);
  if (outcome === undefined || outcome.kind === "unknown") {
    if (parseVerb(verb) !== undefined && verb !== "status" && verb !== "forensics")
      see(draft, target, "power", at, `not known: how ${verb} ended is not known`, verb);
  } else if (after !== null) see(draft, target, "power", at, `"${after}"`, `after ${verb}`);
}

function stateAfter(outcome: Operation["outcome"]): string | null {
  if (outcome?.kind === "failed" && outcome.code === 6) return "stopped";
  return outcome?.kind === "done" && outcome.state !== "reported" ? outcome.state : null;
}

/** Operations stand where they were asked; what lies in the part that is left out is only counted. */
function withOperations(timeline: Kept<Moment>, operations: readonly Operation[]): Kept<Moment> {
  const moments = operations.map(({ verb, target, by, requested_at, outcome }): Moment => {
    const end = outcome === undefined ? "its end is not known yet" : outcomeWords(verb, outcome).headline;
    return { at: requested_at, by, what: `${verb} on ${target}`, text: end };
  });
  const { first, last, left_out } = timeline;
  const from = first.at(-1)?.at ?? "";
  const isEarly = ({ at }: Moment) => left_out === 0 || at <= from;
  return {
    first: byTime([...first, ...moments.filter(isEarly)]),
    left_out,
    last: byTime([...last, ...moments.filter((each) => !isEarly(each))]),
  };
}

function byTime(moments: readonly Moment[]): readonly Moment[] {
  return moments.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

function counted(many: number, thing: string): string {
  return `${many} ${thing}${many === 1 ? "" : "s"}`;
}
