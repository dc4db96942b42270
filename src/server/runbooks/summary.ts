import type { Finding, RunbookSettled } from "../../protocol/events.ts";
import type { Definition } from "./definition.ts";
import type { Judged } from "./judge.ts";
import { notChecked } from "./read.ts";
import type { AllAsked } from "./run.ts";

/** Findings whose sentence stands in the summary; of more only how many there are. */
const toldMax = 3;

/** What looks wrong, and the likely next step, for a person to take. What is not known is never told as well. */
export function summaryOf(
  definition: Definition,
  target: string,
  { asked, guestSilent }: AllAsked,
  { findings, unanswered }: Judged,
): Pick<RunbookSettled, "findings" | "unanswered" | "summary" | "next"> {
  const silent = guestSilent ? [silence(target, unanswered)] : [];
  const all = [...findings.filter(isBad), ...silent, ...findings.filter((each) => !isBad(each))];
  const count = asked.filter(({ kind }) => kind !== "missing").length;
  const missing = asked.flatMap((each) => (each.kind === "missing" ? [each.step.name] : []));
  const next = all.find((each) => each.next !== undefined)?.next;
  return {
    findings: all,
    unanswered,
    summary: [
      ...(definition.ours ? [] : [notChecked]),
      whatLooksWrong(all, unanswered.length, count),
      ...whatIsNotKnown(new Set(unanswered.map(({ step }) => step)), count),
      ...(missing.length > 0 ? [`Not there to be asked: ${missing.join(", ")}.`] : []),
    ].join(" "),
    next: next ?? (all.length > 0 || unanswered.length === 0 ? definition.otherwise : askAgain),
  };
}

const askAgain =
  "Ask again in a minute. When the same questions stay open, ask them by hand, or look at the machine's screen through its hypervisor.";

const isBad = ({ level }: Finding) => level === "bad";

function silence(target: string, unanswered: Judged["unanswered"]): Finding {
  return {
    level: "bad",
    step: unanswered[0]?.step ?? "guest",
    says: `${target} answers nothing that it was asked.`,
    evidence: unanswered[0]?.reason ?? "",
    next: "Ask the power side: the runbook “QEMU wedged” says whether the machine runs, and whether its disk has stalled inside QEMU. A cycle cures that; a reset does not.",
  };
}

function whatLooksWrong(findings: readonly Finding[], open: number, count: number): string {
  if (findings.length === 0)
    return open === 0
      ? `Nothing was found by these thresholds; all ${count} questions were answered. That is no proof of health.`
      : `Whether something is wrong is not known.`;
  const told = findings.slice(0, toldMax).map(({ says }) => says);
  const more = findings.length - told.length;
  return `${told.join(" ")}${more > 0 ? ` And ${more} more.` : ""}`;
}

function whatIsNotKnown(open: ReadonlySet<string>, count: number): readonly string[] {
  if (open.size === 0) return [];
  const which = [...open].slice(0, 8).join(", ") + (open.size > 8 ? ", …" : "");
  return [`${open.size} of ${count} questions are open (${which}): what they would have shown is not known.`];
}
