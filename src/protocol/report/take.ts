import { decodeEvent } from "../decode.ts";
import type { ExecSettled, Finding, RunbookSettled, StoredEvent } from "../events.ts";
import { partsMax, see, targetSeen, type ReportDraft } from "./draft.ts";
import { cut, list, number, orNull, record, sentence, text, textMax } from "./recorded.ts";

/** Runbooks beyond the newest so many are left out, and counted in the short account. */
const runbooksMax = 40;

/** Folds one record in place. Never throws, whatever it is. */
export function takeRecord(draft: ReportDraft, stored: unknown): void {
  const decoded = decodeEvent(stored);
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
