import { setImmediate as turnOfOthers } from "node:timers/promises";
import type { Finding } from "../../protocol/events.ts";
import { visibleText } from "../../protocol/visible.ts";
import { holds, namesIn } from "./condition.ts";
import { nameInText, type Case, type Rule, type Step } from "./definition.ts";
import { match, type Effort, type Groups } from "./match.ts";
import type { AllAsked, Asked } from "./run.ts";

export interface Judged {
  /** The worst first, then in the order of the steps. */
  readonly findings: readonly Finding[];
  readonly unanswered: readonly { readonly step: string; readonly reason: string }[];
}

/** Of a line, only so many characters are compared with a pattern, and shown as evidence. */
const lineCharsMax = 2_000;
const evidenceCharsMax = 500;
/** Of what the guest said, in one place of a sentence. */
const namedCharsMax = 120;
/** Findings of one rule; how many lines more there were is said in the last. */
const perRuleMax = 8;
/** Of one Runbook; the worst are kept, and how many were left out is said in the last. */
const findingsMax = 60;
/** Steps of the matcher for one rule on one output: beyond it the rest of the output is not looked at, and that is said. */
const effortMax = 10_000_000;
/** Then others have their turn: some milliseconds. */
const effortAtOnce = 200_000;

type Answered = Extract<Asked, { kind: "answered" }>;

/** Compares what came back with the thresholds. All of it is data: bounded, and what cannot be seen is named. */
export async function judge({ asked, guestSilent }: AllAsked): Promise<Judged> {
  const now: Case = guestSilent ? "guest_silent" : "guest_answers";
  const answered = asked.filter((each) => each.kind === "answered");
  const values = await valuesOf(asked);
  const findings: Finding[] = [];
  const unanswered = asked.flatMap((each) =>
    each.kind === "unanswered" ? [{ step: each.step.name, reason: visibleText(each.reason) }] : [],
  );
  for (const answer of answered) {
    const { step, at } = answer;
    const lines = linesOf(answer);
    for (const rule of step.rules) {
      if (rule.only !== null && rule.only !== now) continue;
      const known = new Map(values).set("now", Math.floor(at.getTime() / 1000));
      const { found, notKnown } = await apply(rule, step, lines, known);
      findings.push(...found);
      if (
        notKnown !== null &&
        !unanswered.some((each) => each.step === step.name && each.reason === notKnown)
      )
        unanswered.push({ step: step.name, reason: notKnown });
    }
  }
  return { findings: worstFirst(findings), unanswered };
}

interface Applied {
  readonly found: readonly Finding[];
  /** Why something of it could not be judged. */
  readonly notKnown: string | null;
}

async function apply(
  rule: Rule,
  step: Step,
  lines: readonly string[],
  values: ReadonlyMap<string, number>,
): Promise<Applied> {
  const groupsOfLine = rule.line?.groups ?? [];
  if (rule.when.flatMap(namesIn).some((name) => !groupsOfLine.includes(name) && !values.has(name)))
    return { found: [], notKnown: numberNotKnown };
  if (rule.line === null) return applyToValues(rule, step, lines, values);
  const hits: Hit[] = [];
  let count = 0;
  const judging = patience();
  for (const line of lines) {
    if (await judging.spent()) break;
    const groups = match(rule.line, line, judging.effort);
    if (groups === null) continue;
    if (rule.unless !== null && match(rule.unless, line, judging.effort) !== null) continue;
    if (!rule.when.every((condition) => holds(condition, numberIn(groups, values)) === true)) continue;
    count++;
    if (rule.tell === "last") hits[0] = { line, groups };
    else if (hits.length < (rule.tell === "first" ? 1 : perRuleMax)) hits.push({ line, groups });
  }
  const notKnown = judging.over() ? "Its output takes too long to judge: not all of it was looked at." : null;
  if (count < rule.atLeast) return { found: [], notKnown };
  const more = rule.tell === "each" ? count - hits.length : 0;
  const found = hits.map((hit, at) => {
    const last = at === hits.length - 1 && more > 0 ? ` (${more} more lines say the like.)` : "";
    return finding(rule, step, hit, new Map(values).set("count", count), last);
  });
  return { found, notKnown };
}

function applyToValues(
  rule: Rule,
  step: Step,
  lines: readonly string[],
  values: ReadonlyMap<string, number>,
): Applied {
  const all = rule.when.map((condition) => holds(condition, (name) => values.get(name)));
  if (all.includes(false)) return { found: [], notKnown: null };
  if (all.includes(null)) return { found: [], notKnown: numberNotKnown };
  const line = lines.find((each) => each.trim() !== "") ?? "(it printed nothing)";
  return { found: [finding(rule, step, { line, groups: new Map() }, values)], notKnown: null };
}

const numberNotKnown = "A number that it is compared with is not known, so that it was not judged.";

interface Hit {
  readonly line: string;
  readonly groups: Groups;
}

function finding(
  rule: Rule,
  step: Step,
  { line, groups }: Hit,
  values: ReadonlyMap<string, number>,
  more = "",
): Finding {
  const told = (text: string) =>
    text.replaceAll(nameInText, (_, name: string) =>
      visibleText(cut(groups.get(name) ?? rounded(values.get(name)), namedCharsMax)).replaceAll(
        /[\n\t]/g,
        " ",
      ),
    );
  return {
    level: rule.level,
    step: step.name,
    says: told(rule.says) + more,
    evidence: visibleText(cut(line.trim(), evidenceCharsMax)),
    ...(rule.next !== null && { next: told(rule.next) }),
  };
}

/** Of what a machine does not have there are none. */
async function valuesOf(asked: readonly Asked[]): Promise<ReadonlyMap<string, number>> {
  const values = new Map<string, number>();
  for (const each of asked) {
    if (each.kind === "unanswered") continue;
    const lines = each.kind === "answered" ? linesOf(each) : [];
    for (const [name, pattern] of each.step.values) {
      const isNumber = pattern.groups.length > 0;
      const judging = patience();
      let count = 0;
      for (const line of lines) {
        if (await judging.spent()) break;
        const groups = match(pattern, line, judging.effort);
        if (groups === null) continue;
        count++;
        const value = numberOf(groups.get("value"));
        if (!isNumber || value === undefined) continue;
        values.set(name, value);
        break;
      }
      if (!isNumber && !judging.over()) values.set(name, count);
    }
  }
  return values;
}

/** Bounds what one pattern may cost on one output, and lets others have their turn meanwhile. */
function patience() {
  const effort: Effort = { left: effortMax };
  let before = effort.left;
  return {
    effort,
    over: () => effort.left <= 0,
    async spent(): Promise<boolean> {
      if (before - effort.left > effortAtOnce) {
        before = effort.left;
        await turnOfOthers();
      }
      return effort.left <= 0;
    },
  };
}

function linesOf({ output }: Answered): readonly string[] {
  return output.split(/\r?\n/).map((line) => line.slice(0, lineCharsMax));
}

function numberIn(groups: Groups, values: ReadonlyMap<string, number>): (name: string) => number | undefined {
  return (name) => numberOf(groups.get(name)) ?? values.get(name);
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d{1,15}(?:\.\d{1,9})?$/.test(text) ? Number(text) : undefined;
}

function rounded(value: number | undefined): string {
  return value === undefined ? "?" : String(Math.round(value * 100) / 100);
}

function worstFirst(findings: readonly Finding[]): readonly Finding[] {
  const sorted = [
    ...findings.filter(({ level }) => level === "bad"),
    ...findings.filter(({ level }) => level === "warning"),
  ];
  const left = sorted.length - findingsMax;
  if (left <= 0) return sorted;
  const kept = sorted.slice(0, findingsMax);
  const last = kept.pop()!;
  return [...kept, { ...last, says: `${last.says} (${left} findings more are left out here.)` }];
}

function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax).toWellFormed()}…`;
}
