import type { Operation, SessionSummary } from "./api.ts";
import { decodeEvent } from "./decode.ts";
import type { ExecSettled, Finding, RunbookSettled, StoredEvent } from "./events.ts";
import { hostResult } from "./outcome.ts";
import { parseVerb } from "./verbs.ts";
import { humanLines, outcomeWords, verdictWords } from "./words.ts";

/** GET /api/session/{id}/report: the incident, from the record alone. Every text in it is data, as it was recorded. */
export interface Report {
  readonly session: Pick<SessionSummary, "session_id" | "name" | "created_at" | "by">;
  readonly made_at: string;
  /** What happened in short, in sentences. */
  readonly in_short: readonly string[];
  readonly stands: Stands;
  /** Runbooks, in order. */
  readonly runbooks: readonly ReportRunbook[];
  /** The agent's own last words on what it found, did and left: nobody has checked them. */
  readonly agent: { readonly at: string; readonly text: string } | null;
  readonly commands: Kept<ReportCommand>;
  readonly approvals: Kept<ReportApproval>;
  readonly operations: Kept<ReportOperation>;
  readonly modes: Kept<ReportMode>;
  readonly timeline: Kept<Moment>;
  readonly cost: Cost;
  readonly integrity: Integrity;
}

/** The first and the last of a list, and how many between them are left out. */
export interface Kept<T> {
  readonly first: readonly T[];
  readonly left_out: number;
  readonly last: readonly T[];
}

/** How it stands, as far as the record tells; nobody has looked since. */
interface Stands {
  /** A Turn has begun and not ended. */
  readonly running: boolean;
  /** Requests that no decision is known of. */
  readonly waiting: number;
  readonly targets: readonly {
    readonly target: string;
    readonly before: readonly Seen[];
    /** Of each side the last; a side that is missing was never seen. */
    readonly now: readonly Seen[];
  }[];
}

/** What one side of a Target showed, and what showed it. */
export interface Seen {
  readonly side: "guest" | "power";
  readonly says: string;
  readonly at: string;
  readonly by: string;
}

export interface ReportRunbook extends Pick<
  RunbookSettled,
  "name" | "title" | "target" | "findings" | "unanswered" | "summary" | "next"
> {
  readonly at: string;
  readonly by: string | null;
}

export interface ReportCommand {
  readonly n: number;
  readonly at: string;
  readonly by: string | null;
  readonly target: string;
  readonly account: string;
  readonly command: string;
  readonly approval: string | null;
  /** null: its end is not on record. */
  readonly ended: { readonly says: string; readonly duration_ms: number; readonly bytes: number } | null;
  /** Where its output is: a path of this server, or the id of the Event that has it; null: it had none. */
  readonly output: { readonly path: string } | { readonly event: number; readonly cut: boolean } | null;
}

export interface ReportApproval {
  readonly approval: string;
  readonly at: string;
  readonly target: string;
  readonly account: string;
  readonly command: string;
  readonly why: string;
  readonly stdin_bytes: number;
  readonly sha256: string;
  readonly decided: {
    readonly decision: string;
    readonly by: string | null;
    readonly at: string;
    readonly reason: string | null;
  } | null;
}

export interface ReportOperation {
  readonly id: string;
  readonly verb: string;
  readonly target: string;
  readonly by: string;
  readonly at: string;
  readonly settled_at: string | null;
  readonly says: string;
  readonly durable: boolean;
  readonly output: string;
  readonly forensics: {
    readonly id: string | null;
    readonly verdict: string | null;
    readonly means: string | null;
    readonly screen: boolean;
    readonly probes: readonly { readonly probe: string; readonly end: string; readonly output: string }[];
  } | null;
}

interface ReportMode {
  readonly at: string;
  readonly by: string | null;
  readonly mode: string;
  readonly until: string | null;
}

export interface Moment {
  readonly at: string;
  readonly by: string | null;
  /** What kind of thing happened, in a word or two of ours. */
  readonly what: string;
  /** What was said or asked: data. */
  readonly text: string;
}

interface Cost {
  readonly turns: number;
  /** Of the Turns that told it. */
  readonly usd: number;
  readonly turns_untold: number;
  readonly duration_ms: number;
}

interface Integrity {
  /** The id of the newest Event that was read; -1: none. */
  readonly head: number;
  readonly events: number;
  /** Records that do not match their checksum. */
  readonly damaged: number;
  /** Whole, but of a kind or shape that this version does not know. */
  readonly not_understood: number;
  /** Why the log or the Operations were not read to their end; null: they were. */
  readonly missing: string | null;
}

/** Of each list, half from its beginning and half from its end; what lies between is counted. */
const keptMax = { commands: 1_000, approvals: 200, operations: 100, modes: 200, timeline: 2_000 };
/** Runbooks beyond the newest so many are left out, and counted in the short account. */
const runbooksMax = 40;
/** Targets beyond so many are left out: a Session that names more is a broken one. */
const targetsMax = 50;
/** Characters of a text in its place; what is cut says so. */
const textMax = { moment: 400, command: 4_000, agent: 16_000, sentence: 1_000, output: 8_000, probe: 2_000 };
/** Of Findings and unanswered steps of one Runbook, and of Probes. */
const partsMax = 100;

/** What the fold holds: bounded, whatever the log's length. */
export interface ReportDraft {
  readonly commands: Keeping<ReportCommand>;
  readonly approvals: Keeping<ReportApproval>;
  readonly modes: Keeping<ReportMode>;
  readonly timeline: Keeping<Moment>;
  readonly runbooks: ReportRunbook[];
  runbooksLeftOut: number;
  agent: { at: string; text: string; isReport: boolean } | null;
  readonly seen: Map<string, { first: Map<Seen["side"], Seen>; last: Map<Seen["side"], Seen> }>;
  readonly prompts: { count: number; first: string | null };
  readonly ends: Map<string, number>;
  refused: number;
  running: boolean;
  cost: Cost;
  events: number;
  head: number;
  notUnderstood: number;
  firstAt: string | null;
  lastAt: string | null;
}

export function emptyReport(): ReportDraft {
  return {
    commands: keeping(keptMax.commands),
    approvals: keeping(keptMax.approvals),
    modes: keeping(keptMax.modes),
    timeline: keeping(keptMax.timeline),
    runbooks: [],
    runbooksLeftOut: 0,
    agent: null,
    seen: new Map(),
    prompts: { count: 0, first: null },
    ends: new Map(),
    refused: 0,
    running: false,
    cost: { turns: 0, usd: 0, turns_untold: 0, duration_ms: 0 },
    events: 0,
    head: -1,
    notUnderstood: 0,
    firstAt: null,
    lastAt: null,
  };
}

/** Folds one record in place. Never throws, whatever it is. */
export function takeRecord(draft: ReportDraft, record: unknown): void {
  const decoded = decodeEvent(record);
  if (!decoded.ok) {
    draft.notUnderstood++;
    return;
  }
  const event = decoded.value;
  draft.events++;
  draft.head = Math.max(draft.head, event.id);
  draft.firstAt ??= event.at;
  draft.lastAt = event.at;
  take(draft, event);
}

/** Targets that anything in the Session was about. */
export function targetsOf({ seen }: ReportDraft): readonly string[] {
  return [...seen.keys()];
}

function take(draft: ReportDraft, event: StoredEvent): void {
  const { at } = event;
  const by = orNull(event.by);
  const say = (what: string, text = "") =>
    draft.timeline.add({ at, by, what, text: cut(text, textMax.moment) });
  switch (event.kind) {
    case "user":
      draft.running = true;
      draft.prompts.count++;
      draft.prompts.first ??= cut(event.text, textMax.moment);
      return say("asked", event.text);
    case "text":
      noteWords(draft, at, event.text);
      return say("the agent said", event.text);
    case "exec":
      return takeExec(draft, event, say);
    case "operation":
      // The Operations themselves come from the power side's own record, with those of Operators among them.
      targetSeen(draft, event.target);
      return;
    case "approval":
      draft.approvals.add({
        approval: event.approval,
        at,
        target: cut(event.target, textMax.moment),
        account: cut(event.account, textMax.moment),
        command: cut(event.command, textMax.command),
        why: cut(text(event.why), textMax.sentence),
        stdin_bytes: number(record(event.stdin)["bytes"]),
        sha256: cut(text(event.sha256), textMax.moment),
        decided: null,
      });
      targetSeen(draft, event.target);
      return say("an approval was asked", `${event.account}@${event.target}: ${event.command}`);
    case "decision": {
      const decided = { decision: text(event.decision), by, at, reason: orNull(event.reason) };
      const { approval } = event;
      draft.approvals.change(
        (each) => each.approval === approval,
        (each) => ({ ...each, decided }),
      );
      return say(`the approval was ${decisionWord(decided.decision)}`, decided.reason ?? "");
    }
    case "mode":
      draft.modes.add({ at, by, mode: text(event.mode), until: orNull(event.until) });
      return say(
        "the mode was set",
        `${text(event.mode)}${event.until ? ` until ${text(event.until)}` : ""}`,
      );
    case "runbook":
      targetSeen(draft, event.target);
      if (event.phase === "started") {
        draft.running = true;
        return say("a runbook was started", `${event.title} on ${event.target}`);
      }
      keepRunbook(draft, event, by);
      return say("the runbook ended", text(event.summary));
    case "result":
      draft.cost = {
        ...draft.cost,
        usd: draft.cost.usd + number(event.cost_usd),
        turns_untold: draft.cost.turns_untold + (event.cost_usd === undefined ? 1 : 0),
        duration_ms: draft.cost.duration_ms + number(event.duration_ms),
      };
      return;
    case "error":
      return say("it failed", event.error);
    case "cancelled":
      return say("it was stopped", text(record(event)["reason"]));
    case "interrupted":
      return say(
        "the server stopped in the middle",
        `Not known: ${list(event.unknown).map(text).join("; ") || "nothing"}`,
      );
    case "turn_end":
      draft.running = false;
      draft.cost = { ...draft.cost, turns: draft.cost.turns + 1 };
      count(draft.ends, text(event.reason));
      return;
    case "session":
    case "tool":
    case "tool_result":
      return;
    default:
      event satisfies never;
  }
}

function takeExec(
  draft: ReportDraft,
  event: Extract<StoredEvent, { kind: "exec" }>,
  say: (what: string, text: string) => void,
): void {
  const { at, n } = event;
  const command = cut(event.command, textMax.command);
  const target = cut(event.target, textMax.moment);
  const account = cut(event.account, textMax.moment);
  const begun = { n, at, by: orNull(event.by), target, account, command, approval: orNull(event.approval) };
  if (event.phase === "started") {
    targetSeen(draft, event.target);
    draft.commands.add({ ...begun, ended: null, output: null });
    return say("ran", `${account}@${target}: ${command}`);
  }
  if (event.phase !== "settled") return;
  const end = record(event.end);
  const ended = {
    says: endWords(end),
    duration_ms: number(event.duration_ms),
    bytes: number(event.bytes),
  };
  const { cut: shortened } = event;
  const path = orNull(record(shortened)["whole"]);
  const output =
    path !== null ? { path } : ended.bytes > 0 ? { event: event.id, cut: shortened !== undefined } : null;
  const isKnown = draft.commands.change(
    (each) => each.n === n && each.ended === null,
    (each) => ({ ...each, ended, output }),
  );
  if (!isKnown) draft.commands.add({ ...begun, ended, output });
  if (end["kind"] === "refused") {
    draft.refused++;
    return say("not run", `${account}@${target}: ${command}: ${text(end["reason"])}`);
  }
  if (account === "hypervisor") {
    if (command.trim() !== "status") return;
    const state = /^status: (\S+)/m.exec(text(event.excerpt))?.[1];
    see(
      draft,
      event.target,
      "power",
      at,
      state === undefined ? "gave no state" : `"${state}"`,
      `status, command ${n}`,
    );
  } else if (end["kind"] === "exited") see(draft, event.target, "guest", at, "answered", `command ${n}`);
  else if (end["kind"] === "unknown") see(draft, event.target, "guest", at, "did not answer", `command ${n}`);
}

/** The agent ends its report with Found, Done and Now (agents/breakglass.md); else its last words are taken. */
function noteWords(draft: ReportDraft, at: string, words: string): void {
  const isReport = /^\W{0,4}(?:Found|Done|Now)\b/m.test(words);
  if (draft.agent?.isReport === true && !isReport) return;
  draft.agent = { at, text: cut(words, textMax.agent), isReport };
}

function keepRunbook(
  draft: ReportDraft,
  event: RunbookSettled & { readonly at: string },
  by: string | null,
): void {
  draft.runbooks.push({
    at: event.at,
    by,
    name: cut(event.name, textMax.moment),
    title: cut(event.title, textMax.moment),
    target: cut(event.target, textMax.moment),
    findings: list(event.findings).slice(0, partsMax).map(findingOf),
    unanswered: list(event.unanswered)
      .slice(0, partsMax)
      .map(record)
      .map(({ step, reason }) => ({ step: sentence(step), reason: sentence(reason) })),
    summary: sentence(event.summary),
    next: sentence(event.next),
  });
  if (draft.runbooks.length <= runbooksMax) return;
  draft.runbooks.shift();
  draft.runbooksLeftOut++;
}

function findingOf(value: unknown): Finding {
  const { level, step, says, evidence, next } = record(value);
  return {
    level: level === "bad" ? "bad" : "warning",
    step: sentence(step),
    says: sentence(says),
    evidence: sentence(evidence),
    ...(next !== undefined && { next: sentence(next) }),
  };
}

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

/** By time: an Operation may be told later than what followed it. */
function see(
  draft: ReportDraft,
  target: string,
  side: Seen["side"],
  at: string,
  says: string,
  by: string,
): void {
  const sights = targetSeen(draft, target);
  if (sights === null) return;
  const seen = { side, says, at, by };
  const [first, last] = [sights.first.get(side), sights.last.get(side)];
  if (first === undefined || at < first.at) sights.first.set(side, seen);
  if (last === undefined || at >= last.at) sights.last.set(side, seen);
}

function targetSeen(draft: ReportDraft, target: string) {
  const known = draft.seen.get(target);
  if (known !== undefined) return known;
  if (draft.seen.size >= targetsMax || target === "") return null;
  const sights = { first: new Map<Seen["side"], Seen>(), last: new Map<Seen["side"], Seen>() };
  draft.seen.set(target, sights);
  return sights;
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

/** Both ends of a Kept. */
function all<T>({ first, last }: Kept<T>): readonly T[] {
  return [...first, ...last];
}

function size<T>(kept: Kept<T>): number {
  return kept.first.length + kept.left_out + kept.last.length;
}

interface Keeping<T> {
  add(value: T): void;
  /** Changes the newest that fits and is still there; answers whether there was one. */
  change(fits: (value: T) => boolean, change: (value: T) => T): boolean;
  kept(): Kept<T>;
}

function keeping<T>(max: number): Keeping<T> {
  const half = Math.floor(max / 2);
  const first: T[] = [];
  let last: T[] = [];
  let leftOut = 0;
  return {
    add(value) {
      if (first.length < half) return void first.push(value);
      last.push(value);
      if (last.length < 2 * half) return;
      // In one go: shifting each would cost the length of the list every time.
      leftOut += last.length - half;
      last = last.slice(-half);
    },
    change(fits, change) {
      for (const part of [last, first]) {
        const at = part.findLastIndex(fits);
        if (at < 0) continue;
        part[at] = change(part[at]!);
        return true;
      }
      return false;
    },
    kept: () => ({
      first,
      left_out: leftOut + Math.max(0, last.length - half),
      last: last.slice(-half),
    }),
  };
}

function endWords(end: Readonly<Record<string, unknown>>): string {
  const reason = sentence(end["reason"]);
  switch (end["kind"] as ExecSettled["end"]["kind"] | undefined) {
    case "exited":
      return `exit code ${number(end["code"])}`;
    case "signalled":
      return `ended by ${sentence(end["signal"])}`;
    case "ended":
      return `ended by Breakglass: ${reason}`;
    case "refused":
      return `not run: ${reason}`;
    case "unknown":
      return `not known: ${reason}`;
    default:
      return "not known: its end is of a kind that this version does not know";
  }
}

function decisionWord(decision: string): string {
  return ["approved", "denied", "expired", "void"].includes(decision) ? decision : "decided";
}

function count(counts: Map<string, number>, word: string): void {
  if (counts.size < partsMax || counts.has(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
}

function counted(many: number, thing: string): string {
  return `${many} ${thing}${many === 1 ? "" : "s"}`;
}

/** A stored value may be of an older or a newer writer: what is no text is none. */
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const orNull = (value: unknown): string | null => (typeof value === "string" ? value : null);
const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? { ...value } : {};
const sentence = (value: unknown): string => cut(text(value), textMax.sentence);

function cut(whole: string, charsMax: number): string {
  return whole.length <= charsMax
    ? whole
    : `${whole.slice(0, charsMax).toWellFormed()} [${whole.length - charsMax} more characters]`;
}
