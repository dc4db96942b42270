import type { Operation, SessionSummary } from "../../protocol/api.ts";
import type { SessionId } from "../../protocol/ids.ts";
import { emptyReport, targetsOf } from "../../protocol/report/draft.ts";
import { finishReport } from "../../protocol/report/finish.ts";
import type { Report } from "../../protocol/report/report.ts";
import { takeRecord } from "../../protocol/report/take.ts";
import { within, type Clock } from "../clock.ts";
import type { Power } from "../power/power.ts";
import { readable } from "../store/readable.ts";
import type { Store } from "../store/store.ts";
import { sessionStream } from "./session.ts";

export interface ReportDeps {
  readonly store: Store;
  readonly power: Pick<Power, "history" | "get">;
  readonly clock: Clock;
  /** Is in every report: an Operator may have cycled it while the agent had not begun. */
  readonly defaultTarget: string;
}

/** Records in memory at once: a record has 8 MiB at most. */
const pageRecords = 32;
/** Of the record's reading: what is not read by then is missing, and the report says so. */
const readMs = 30_000;
/** Of each Operation's output and evidence; then it stands there without. */
const operationMs = 3_000;
/** Of one Target, the newest. */
const operationsMax = 100;
/** An Operator who acts so soon after the Session's last Event still acts on its incident. */
const afterMs = 30 * 60_000;

/**
 * The incident from the record alone: the Session's log, and the Operations on its Targets in its time. `summary` is what the
 * list of Sessions knows of it, which may be nothing while its log is there. Never rejects.
 */
export async function reportOf(
  deps: ReportDeps,
  id: SessionId,
  summary: SessionSummary | undefined,
): Promise<Report> {
  const { store, clock } = deps;
  const draft = emptyReport();
  let damaged = 0;
  let late = false;
  const read = async (): Promise<string | null> => {
    try {
      const records = readable(store, sessionStream(id), () => damaged++, pageRecords);
      for await (const record of records) {
        if (late) break;
        takeRecord(draft, record);
      }
      return null;
    } catch (error) {
      return `The log could not be read to its end: ${String(error)}`;
    }
  };
  const done = await within(
    clock,
    readMs,
    read().then((missing) => ({ missing })),
  );
  late = true;
  const { missing } = done ?? {
    missing: `The log was not read to its end: the disk took longer than ${readMs / 1000} s.`,
  };
  const targets = new Set([deps.defaultTarget, ...targetsOf(draft)]);
  const madeAt = clock.now().toISOString();
  const from = summary?.created_at ?? draft.firstAt ?? madeAt;
  const { operations, unread } = await operationsOf(deps, targets, from, draft.lastAt ?? from);
  return finishReport(draft, {
    session: { session_id: id, name: summary?.name ?? "", created_at: from, by: summary?.by ?? "" },
    madeAt,
    operations,
    damaged,
    missing: [missing, unread].filter((each) => each !== null).join(" ") || null,
  });
}

async function operationsOf(
  { power, clock }: ReportDeps,
  targets: ReadonlySet<string>,
  from: string,
  lastAt: string,
): Promise<{ readonly operations: readonly Operation[]; readonly unread: string | null }> {
  const last = Date.parse(lastAt);
  const to = new Date((Number.isNaN(last) ? clock.now().getTime() : last) + afterMs).toISOString();
  const briefs = [...targets].flatMap((target) => power.history(target, operationsMax));
  const inTime = briefs
    .filter(({ requested_at }) => requested_at >= from && requested_at <= to)
    .toSorted((a, b) => (a.requested_at < b.requested_at ? -1 : 1));
  let unread = 0;
  const operations: Operation[] = [];
  for (const brief of inTime) {
    const reading = power.get(brief.id).catch(() => undefined);
    const whole = await within(clock, operationMs, reading);
    if (whole == null) unread++;
    operations.push(whole ?? brief);
  }
  return {
    operations,
    unread:
      unread === 0
        ? null
        : `Output and evidence of ${unread} operations could not be read now; ask again later.`,
  };
}
