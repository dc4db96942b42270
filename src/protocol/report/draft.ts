import { keeping, type Keeping } from "./keeping.ts";
import type {
  Cost,
  Moment,
  ReportApproval,
  ReportCommand,
  ReportMode,
  ReportRunbook,
  Seen,
} from "./report.ts";

/** Of each list, half from its beginning and half from its end; what lies between is counted. */
export const keptMax = { commands: 1_000, approvals: 200, operations: 100, modes: 200, timeline: 2_000 };
/** Targets beyond so many are left out: a Session that names more is a broken one. */
const targetsMax = 50;
/** Of Findings and unanswered steps of one Runbook, and of Probes. */
export const partsMax = 100;

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

/** Targets that anything in the Session was about. */
export function targetsOf({ seen }: ReportDraft): readonly string[] {
  return [...seen.keys()];
}

/** Notes what one side of a Target showed. By time: an Operation may be told later than what followed it. */
export function see(
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

/** The Target is part of the incident from here on. null: it is one too many, or has no name. */
export function targetSeen(draft: ReportDraft, target: string) {
  const known = draft.seen.get(target);
  if (known !== undefined) return known;
  if (draft.seen.size >= targetsMax || target === "") return null;
  const sights = { first: new Map<Seen["side"], Seen>(), last: new Map<Seen["side"], Seen>() };
  draft.seen.set(target, sights);
  return sights;
}
