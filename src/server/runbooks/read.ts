import { complain, notShown, shown, type Findings } from "../config/findings.ts";
import { placeOf, shownAt } from "../config/places.ts";
import { namesIn } from "./condition.ts";
import { nameInText, type Definition, type Rule, type Step } from "./definition.ts";
import { schemas, type OwnStep, type RuleText, type UsedStep } from "./schema.ts";

/** One Runbook as it was written, and where: `runbooks/disk.yaml`, `runbooks[0]`. */
export interface Source {
  readonly place: string;
  readonly content: unknown;
  /** Not from the configuration: it has been checked to change nothing. */
  readonly ours: boolean;
}

/**
 * The Runbooks that are right, in the order of their first writing; a later one of the same name stands in for the one before.
 * One with a problem is left out, and all its problems are among the findings, each with its place and its mend.
 */
export function readRunbooks(sources: readonly Source[], findings: Findings): readonly Definition[] {
  const written = new Map<string, Written>();
  for (const source of sources) {
    const own = new Problems(source, findings);
    const read = readOne(source.content, own);
    // In its place a right one of the same name stays.
    if (read !== null && own.none) written.set(read.name, { ...read, problems: own, ours: source.ours });
  }
  return [...written.values()].flatMap((each) => resolve(each, written) ?? []);
}

/** Of a Runbook that sets none. */
const otherwiseDefault =
  "When something is wrong all the same, describe it to the agent, or run another runbook: these thresholds see only what they ask for.";

/** For whoever starts it and whoever reads what came of it. */
export const notChecked = "This is from your configuration, not checked to be read-only.";

type StepText = OwnStep | UsedStep;

interface Written {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  readonly otherwise?: string | undefined;
  readonly steps: readonly StepText[];
  readonly problems: Problems;
  readonly ours: boolean;
}

/** What is wrong with one Runbook. */
class Problems {
  none = true;
  readonly #source: Source;
  readonly #findings: Findings;

  constructor(source: Source, findings: Findings) {
    this.#source = source;
    this.#findings = findings;
  }

  tell(path: readonly PropertyKey[], what: string, value = shownAt(this.#source.content, path)): void {
    this.none = false;
    const inside = placeOf(path);
    const { place } = this.#source;
    const at = inside === "" ? place : place.endsWith("]") ? `${place}.${inside}` : `${place}: ${inside}`;
    complain(
      this.#findings,
      at,
      value,
      `${what}. This runbook is left out until then. See docs/runbooks.md.`,
    );
  }

  /** Answers what the schema made of it; null when something is wrong. */
  parse<T>(
    schema: { safeParse(value: unknown): SafeParsed<T> },
    value: unknown,
    path: readonly PropertyKey[],
  ): T | null {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) {
      if (issue.code === "unrecognized_keys")
        for (const key of issue.keys ?? []) this.tell([...path, ...issue.path, key], "No such key", notShown);
      else this.tell([...path, ...issue.path], issue.message);
    }
    return null;
  }
}

type SafeParsed<T> =
  | { readonly success: true; readonly data: T }
  | {
      readonly success: false;
      readonly error: {
        readonly issues: readonly {
          readonly code: string;
          readonly path: readonly PropertyKey[];
          readonly message: string;
          readonly keys?: readonly string[];
        }[];
      };
    };

function readOne(content: unknown, problems: Problems): Omit<Written, "problems" | "ours"> | null {
  const runbook = problems.parse(schemas.runbook, content, []);
  if (runbook === null) return null;
  const steps: StepText[] = [];
  const names = new Set<string>();
  runbook.steps.forEach((value, at) => {
    const isUsed = typeof value === "object" && value !== null && "use" in value;
    const step: StepText | null = isUsed
      ? problems.parse(schemas.usedStep, value, ["steps", at])
      : problems.parse(schemas.ownStep, value, ["steps", at]);
    if (step === null) return;
    const name = "use" in step ? step.use.split("/")[1]! : step.name;
    if (names.has(name)) problems.tell(["steps", at], `There are two steps "${name}"`, shown(name));
    names.add(name);
    steps.push(step);
  });
  return { ...runbook, steps };
}

/** null: it has a problem that only shows beside the others. */
function resolve(written: Written, all: ReadonlyMap<string, Written>): Definition | null {
  const { name, title, about, otherwise = otherwiseDefault, problems } = written;
  const texts = written.steps.map((step, at) => ("use" in step ? find(step, at, written, all) : step));
  const valueNames = new Set([
    ...builtIn,
    ...texts.flatMap((step) => (step ? Object.keys(step.values) : [])),
  ]);
  const steps = texts.map((step, at) => step && checked(step, ["steps", at], valueNames, problems));
  if (!problems.none) return null;
  const ours = written.steps.every((step) => writtenIn(step, written, all).ours);
  const told = ours ? about : [about, notChecked].filter((text) => text !== "").join(" ");
  return { name, title, about: told, ours, otherwise, steps: steps.filter((step) => step !== null) };
}

/** A step that is used here may be another's, and that one may be from the configuration where this one is ours. */
function writtenIn(step: StepText, here: Written, all: ReadonlyMap<string, Written>): Written {
  return "use" in step && here.ours ? (all.get(step.use.split("/")[0]!) ?? here) : here;
}

/** Numbers that every condition may speak of: this server's clock when the answer came, in unix seconds. */
const builtIn = ["now"];

function find(
  { use, optional, only }: UsedStep,
  at: number,
  { problems }: Written,
  all: ReadonlyMap<string, Written>,
): OwnStep | null {
  const [runbook, name] = use.split("/") as [string, string];
  const step = all.get(runbook)?.steps.find((each) => "name" in each && each.name === name);
  if (step !== undefined && "name" in step)
    return { ...step, ...(optional !== undefined && { optional }), ...(only !== undefined && { only }) };
  problems.tell(["steps", at, "use"], "There is no such step, written out in the runbook of that name");
  return null;
}

function checked(
  step: OwnStep,
  path: readonly PropertyKey[],
  valueNames: ReadonlySet<string>,
  problems: Problems,
): Step {
  const { name, on, run, seconds, codes, no_answer, optional, only, values, rules } = step;
  if (on === "power" && run.some((verb) => !readingVerbs.has(verb)))
    problems.tell(
      [...path, "run"],
      "On the power side a runbook asks for status or forensics, and nothing else",
    );
  for (const [value, pattern] of Object.entries(values)) {
    const odd = pattern.groups.find((group) => group !== "value");
    if (odd !== undefined)
      problems.tell([...path, "values", value], `The group must be called value, not ${odd}`);
  }
  return {
    name,
    on,
    ways: run as unknown as Step["ways"],
    timeoutMs: seconds * 1000,
    codes,
    noAnswer: no_answer ?? null,
    optional,
    only: only ?? null,
    values: new Map(Object.entries(values)),
    rules: rules.map((rule, at) => checkedRule(rule, [...path, "rules", at], valueNames, problems)),
  };
}

const readingVerbs = new Set(["status", "forensics"]);

function checkedRule(
  rule: RuleText,
  path: readonly PropertyKey[],
  valueNames: ReadonlySet<string>,
  problems: Problems,
): Rule {
  const { line, unless, when = [], at_least, tell, only, level, says, next } = rule;
  if (line === undefined && when.length === 0) problems.tell(path, "A rule needs `line`, or `when`, or both");
  if (line === undefined && (unless !== undefined || at_least > 1))
    problems.tell(path, "`unless` and `at_least` count lines: they need `line`");
  const known = new Set([...valueNames, ...(line?.groups ?? [])]);
  const unknown = (names: readonly string[], field: string) => {
    const odd = names.find((name) => !known.has(name));
    if (odd !== undefined)
      problems.tell(
        [...path, field],
        `Nothing here is called ${odd}: it must be a group of \`line\`, or among the values of a step`,
      );
  };
  unknown(when.flatMap(namesIn), "when");
  known.add("count");
  unknown(namesInText(says), "says");
  if (next !== undefined) unknown(namesInText(next), "next");
  return {
    line: line ?? null,
    unless: unless ?? null,
    when,
    atLeast: at_least,
    tell,
    only: only ?? null,
    level,
    says,
    next: next ?? null,
  };
}

function namesInText(text: string): readonly string[] {
  return [...text.matchAll(nameInText)].map(([, name]) => name!);
}
