import type {
  Kept,
  Moment,
  Report,
  ReportApproval,
  ReportCommand,
  ReportOperation,
  ReportRunbook,
  Seen,
} from "./report.ts";
import { visibleText } from "../visible.ts";
import { span } from "../words.ts";

/**
 * The Report as Markdown. Whatever was recorded stands in code, where Markdown makes nothing of it: no HTML, no link, no
 * heading; what cannot be seen, or could deceive a reader, is named.
 */
export function reportMarkdown(report: Report): string {
  const { session, integrity, cost } = report;
  return [
    `# Incident ${session.name === "" ? code(session.session_id) : code(session.name)}`,
    `Session ${code(session.session_id)}, begun ${code(session.created_at)} by ${code(session.by)}. This report was made ${code(report.made_at)} from the record alone. Times are UTC. What stands in code was recorded as it is, some of it from machines that may be in others' hands.`,
    "## In short",
    report.in_short.map((sentence) => `- ${code(sentence)}`).join("\n"),
    "## How it stands",
    ...stands(report),
    "## Findings",
    ...(report.runbooks.length === 0 ? ["No runbook was run."] : report.runbooks.flatMap(runbook)),
    ...(report.agent === null
      ? ["The agent left no words."]
      : [
          `The agent's own last words, ${code(report.agent.at)}. They are what it says, not what was seen:`,
          fence(report.agent.text),
        ]),
    "## Power",
    ...sections(report.operations, "operations", "The power was not touched in its time.", operation),
    "## Approvals",
    ...sections(report.approvals, "approvals", "None was asked.", approval),
    "## Commands",
    ...sections(report.commands, "commands", "None was run.", command),
    "## Modes",
    lines(
      report.modes,
      "changes of the mode",
      "The mode was not changed.",
      ({ at, by, mode, until }) =>
        `- ${code(at)} ${code(mode)}${until === null ? "" : ` until ${code(until)}`}${who(by)}`,
    ),
    "## Timeline",
    lines(report.timeline, "moments", "Nothing was recorded.", moment),
    "## Cost",
    `${cost.turns} turns in ${span(cost.duration_ms)} of the agent's time; ${cost.usd.toFixed(4)} USD as the agent told it${cost.turns_untold > 0 ? `, not known for ${cost.turns_untold}` : ""}.`,
    "## Integrity",
    [
      `- Events read: ${integrity.events}, the newest has the id ${integrity.head}.`,
      `- Damaged and left out: ${integrity.damaged}. Not understood and left out: ${integrity.not_understood}.`,
      ...(integrity.missing === null ? [] : [`- Not all was read: ${code(integrity.missing)}`]),
      "- Whether the record was changed afterwards is not told here: the checksums of the log and the chain of the audit tell it.",
    ].join("\n"),
    "",
  ].join("\n\n");
}

function stands({ stands: { running, waiting, targets } }: Report): string[] {
  const said = [
    ...(running ? ["- A turn is under way: what follows may have changed already."] : []),
    ...(waiting > 0 ? [`- Approvals without a decision on record: ${waiting}.`] : []),
  ];
  const machines = targets.flatMap(({ target, before, now }) => [
    `**Target** ${code(target)}`,
    [...sides("first seen", before), ...sides("last seen", now)].join("\n"),
  ]);
  return [
    ...(said.length > 0 ? [said.join("\n")] : []),
    ...(machines.length > 0 ? machines : ["Not known: nothing in the record shows the state of a machine."]),
  ];
}

function sides(when: string, seen: readonly Seen[]): string[] {
  return (["power", "guest"] as const).map((side) => {
    const sight = seen.find((each) => each.side === side);
    const name = side === "power" ? "hypervisor's view" : "guest";
    return sight === undefined
      ? `- ${name}, ${when}: not known, nothing in the record shows it.`
      : `- ${name}, ${when} ${code(sight.at)}: ${code(sight.says)} (${code(sight.by)})`;
  });
}

function runbook({ title, target, at, by, summary, next, findings, unanswered }: ReportRunbook): string[] {
  return [
    `**Runbook** ${code(title)} on ${code(target)}, ended ${code(at)}${who(by)}: ${code(summary)}`,
    ...(findings.length + unanswered.length === 0
      ? []
      : [
          [
            ...findings.map(
              ({ level, step, says, evidence }) =>
                `- **${level}** ${code(says)} (step ${code(step)})${evidence === "" ? "" : `: ${code(evidence)}`}`,
            ),
            ...unanswered.map(({ step, reason }) => `- **not known** ${code(step)}: ${code(reason)}`),
          ].join("\n"),
        ]),
    `Likely next step: ${code(next)}`,
  ];
}

function operation(each: ReportOperation): string[] {
  const { verb, target, by, at, settled_at, says, durable, id, output, forensics } = each;
  return [
    `### ${code(verb)} on ${code(target)}`,
    `Asked ${code(at)} by ${code(by)}${settled_at === null ? "" : `, settled ${code(settled_at)}`} (operation ${code(id)})${durable ? "" : "; **not on record in time**"}: ${code(says)}`,
    ...(output.trim() === "" ? [] : [fence(output)]),
    ...(forensics === null
      ? []
      : [
          `Evidence ${forensics.id === null ? "without a name" : code(forensics.id)}, verdict ${forensics.verdict === null ? "none" : code(forensics.verdict)}${forensics.means === null ? "" : `: ${code(forensics.means)}`}${forensics.screen ? ` A picture of the screen is at ${code(`/api/operations/${id}/screen`)}.` : ""}`,
          ...forensics.probes.flatMap((probe) => [
            `${code(probe.probe)} (${code(probe.end)})`,
            fence(probe.output),
          ]),
        ]),
  ];
}

function approval({
  at,
  target,
  account,
  command,
  why,
  stdin_bytes,
  sha256,
  decided,
}: ReportApproval): string[] {
  const answer =
    decided === null
      ? "**no decision on record**"
      : `**${code(decided.decision)}**${who(decided.by)} ${code(decided.at)}${decided.reason === null ? "" : `: ${code(decided.reason)}`}`;
  return [
    `Asked ${code(at)}: ${code(`${account}@${target}`)}, ${code(why)} Answer: ${answer}`,
    fence(command),
    `With ${stdin_bytes} bytes of stdin; sha256 of the request: ${code(sha256)}`,
  ];
}

function command({
  n,
  at,
  by,
  target,
  account,
  command,
  approval: given,
  ended,
  output,
}: ReportCommand): string[] {
  const end =
    ended === null
      ? "**its end is not on record**"
      : `${code(ended.says)} after ${ended.duration_ms} ms, ${ended.bytes} bytes of output`;
  const where =
    output === null
      ? ""
      : "path" in output
        ? `, whole at ${code(output.path)}`
        : `, in event ${output.event}${output.cut ? " (its beginning and end; the whole was not kept)" : ""}`;
  return [
    `**${n}** ${code(at)} ${code(`${account}@${target}`)}${who(by)}${given === null ? "" : `, approval ${code(given)}`}: ${end}${where}`,
    fence(command),
  ];
}

function moment({ at, by, what, text }: Moment): string {
  return `- ${code(at)} ${code(what)}${who(by)}${text === "" ? "" : `: ${code(text)}`}`;
}

function who(by: string | null): string {
  return by === null ? "" : ` by ${code(by)}`;
}

function sections<T>(kept: Kept<T>, things: string, none: string, write: (value: T) => string[]): string[] {
  const { first, last, left_out } = kept;
  if (first.length + last.length === 0) return [none];
  return [
    ...first.flatMap(write),
    ...(left_out > 0 ? [`(${left_out} ${things} are left out here; the record has them.)`] : []),
    ...last.flatMap(write),
  ];
}

function lines<T>(kept: Kept<T>, things: string, none: string, write: (value: T) => string): string {
  return sections(kept, things, none, (value) => [write(value)])
    .map((line) => (line.startsWith("- ") || line === none ? line : `- ${line}`))
    .join("\n");
}

/** In one line: what ends a line is named too. */
function code(text: string): string {
  const shown = visibleText(text)
    .replaceAll(/\s*\n\s*/g, " ⏎ ")
    .replaceAll("\t", " ");
  if (shown.trim() === "") return "(empty)";
  const ticks = "`".repeat(longestRun(shown) + 1);
  // A space stands between a code's own backtick and those around it, and is not shown.
  return /^[` ]|[` ]$/.test(shown) ? `${ticks} ${shown} ${ticks}` : ticks + shown + ticks;
}

function fence(text: string): string {
  const shown = visibleText(text.replace(/\n$/, ""));
  const ticks = "`".repeat(Math.max(3, longestRun(shown) + 1));
  return `${ticks}text\n${shown}\n${ticks}`;
}

function longestRun(text: string): number {
  let longest = 0;
  for (const [run] of text.matchAll(/`+/g)) longest = Math.max(longest, run.length);
  return longest;
}
