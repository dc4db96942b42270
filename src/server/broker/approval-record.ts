import type { PendingApproval } from "../../protocol/api.ts";
import type { ApprovalDecided } from "../../protocol/events.ts";
import type { ApprovalId } from "../../protocol/ids.ts";
import { within, type Clock } from "../clock.ts";
import { notInTime } from "./approval-sentences.ts";
import type { Asking, Verdict } from "./approvals.ts";
import { wholeEnd } from "./excerpt.ts";

interface RecordDeps {
  readonly clock: Clock;
  readonly log: (text: string) => void;
}

/** What is not on record by then is void. */
const recordMsMax = 10_000;
/** Of stdin, for the record. */
const stdinExcerptBytesMax = 8 * 1024;
/** In the record, the actor of what no Operator decided. */
const ourselves = "breakglass";

/** False: nobody may be asked. */
export async function recordAsked(
  deps: RecordDeps,
  asking: Asking,
  shown: Omit<PendingApproval, "session_name">,
  stdin: Buffer,
): Promise<boolean> {
  const { approval, target, account, command, sha256, expires_at, why } = shown;
  const excerpt = wholeEnd(stdin.subarray(0, stdinExcerptBytesMax)).toString();
  const recording = asking.record({
    kind: "approval",
    approval,
    target,
    account,
    command,
    stdin: { bytes: stdin.length, sha256: shown.stdin.sha256, excerpt },
    sha256,
    expires_at,
    why,
  });
  if (await inTime(deps, asking, recording)) return true;
  // Should it come to the record after all, its end comes too.
  void recording.then(
    () => recordEnd(deps, asking, { approval, decision: "void", reason: notInTime }),
    () => {},
  );
  return false;
}

/**
 * Answers what holds: what was approved counts only when that is on record, and when nothing has overtaken it until then.
 * Otherwise a `void` stands behind it in the record.
 */
export async function recordVerdict(
  deps: RecordDeps,
  asking: Asking,
  approval: ApprovalId,
  verdict: Verdict,
): Promise<Verdict> {
  const { decision, by, reason, at } = verdict;
  const end = { approval, decision, ...(reason !== undefined && { reason }) };
  const recorded = await recordEnd(deps, asking, end, by);
  // What we settled ourselves runs nothing, on record or not.
  if (by === undefined) return verdict;
  const { until } = asking;
  if (recorded && !(decision === "approved" && until.aborted)) return verdict;
  const why = recorded ? String(until.reason) : notInTime;
  const voided = recordEnd(deps, asking, { approval, decision: "void", reason: why });
  // A disk that does not answer is not waited for again: should the decision come to the record, this stands behind it.
  if (recorded) await voided;
  return { decision: "void", reason: why, at, ...(!recorded && { unrecorded: true }) };
}

async function recordEnd(
  deps: RecordDeps,
  asking: Asking,
  end: Omit<ApprovalDecided, "kind">,
  by: string = ourselves,
): Promise<boolean> {
  return inTime(deps, asking, asking.record({ kind: "decision", ...end }, by));
}

async function inTime(
  { clock, log }: RecordDeps,
  { session }: Asking,
  recording: Promise<void>,
): Promise<boolean> {
  const failed = (why: string) => {
    log(`broker: an approval of session ${session}, or its end, could not be recorded: ${why}`);
    return false;
  };
  try {
    const recorded = await within(
      clock,
      recordMsMax,
      recording.then(() => true),
    );
    return recorded ?? failed(`the disk did not answer within ${recordMsMax} ms`);
  } catch (error) {
    return failed(String(error));
  }
}
