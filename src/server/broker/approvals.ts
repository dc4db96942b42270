import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import type { ApprovalRequest, PendingApproval } from "../../protocol/api.ts";
import type { ApprovalAsked, ApprovalDecided } from "../../protocol/events.ts";
import type { ApprovalId, SessionId } from "../../protocol/ids.ts";
import { visible } from "../../protocol/visible.ts";
import type { Clock } from "../clock.ts";
import { Slots } from "../ssh/slots.ts";
import { recordAsked, recordVerdict } from "./approval-record.ts";
import {
  deniedBefore,
  notAsked,
  notInTime,
  notRun,
  stdinRefused,
  tooLong,
  tooMany,
  tooManyLines,
  tooManyNamed,
  tooMuchAtOnce,
  tooOften,
} from "./approval-sentences.ts";
import type { NotWhole } from "./caller.ts";
import { equal } from "./equal.ts";

/** Requests that wait for an Operator. Nothing is kept over a restart: whoever asked is gone then. */
export interface Approvals {
  /** The oldest first. */
  pending(): readonly Omit<PendingApproval, "session_name">[];
  /** Resolves when the decision is on record: only then anything is run by it. Never rejects. */
  decide(
    session: SessionId,
    approval: ApprovalId,
    answer: ApprovalRequest,
    by: string,
  ): Promise<DecideAnswer>;
  watch(onChange: () => void): () => void;
}

export type DecideAnswer =
  | { readonly kind: "decided"; readonly decision: "approved" | "denied" }
  /** This Session has no such request, as far as this process knows. */
  | { readonly kind: "none" }
  | ({ readonly kind: "settled" } & Settled)
  /** `sha256` is not this request's: nothing was decided. */
  | { readonly kind: "another" }
  /** Nothing runs; it is void. */
  | { readonly kind: "unrecorded"; readonly reason: string };

interface Settled {
  readonly decision: ApprovalDecided["decision"];
  /** The Operator, where one decided. */
  readonly by?: string;
  readonly at: string;
}

/** What the Broker's answering does with them. */
export interface AskedApprovals extends Approvals {
  /** Resolves when it is known what becomes of it. Never rejects. */
  ask(asking: Asking): Promise<Answered>;
  /** Whether an Operator is shown a request of this Session. */
  waiting(session: SessionId): boolean;
}

export interface Asking {
  readonly session: SessionId;
  readonly target: string;
  readonly account: string;
  readonly command: string;
  readonly why: string;
  /** All of it, or why it cannot be had; null: it is given nothing to read. */
  readonly stdin: ((bytesMax: number, msMax: number) => Promise<Buffer | NotWhole>) | null;
  /** Aborted when it must not be run any more, with a sentence as its reason. */
  readonly until: AbortSignal;
  readonly turn: AskedInTurn;
  /** Resolves when the event is durable; rejects when it cannot be. */
  readonly record: (event: ApprovalAsked | ApprovalDecided, by?: string) => Promise<void>;
}

/** What one Turn has asked for. */
export interface AskedInTurn {
  /** Also what was refused since its stdin could not be had. */
  count: number;
  /** Places in which stdin is read. */
  readonly reading: Slots;
  /** Fingerprints of what an Operator denied. */
  readonly denied: Set<string>;
}

export function nothingAsked(): AskedInTurn {
  return { count: 0, reading: new Slots(stdinsAtOnceMax, Infinity), denied: new Set() };
}

type Answered =
  | { readonly kind: "approved"; readonly approval: ApprovalId }
  /** Nothing was run, and nothing will be; the record says why, as far as it can be written. */
  | { readonly kind: "not"; readonly sentence: string }
  /** The same, and no Operator was asked: whoever hears it puts it on record. */
  | { readonly kind: "refused"; readonly sentence: string };

/** More on stdin than this is refused: an Operator could not be shown all of it. */
const approvalStdinBytesMax = 64 * 1024;
/** Stdin that has not ended by then is refused as interactive. */
const approvalStdinMsMax = 10_000;
/** Of one Session at the same time; one more waits until one of them was read. */
const stdinsAtOnceMax = 2;
/** A longer command is refused, for the same reason. */
const commandBytesMax = 64 * 1024;
/** What nobody has decided by then is `expired`. */
export const approvalMsMax = 10 * 60_000;
/** Waiting over all Sessions; one more is refused at once with a sentence. */
const approvalsAtOnceMax = 16;
/** The same in one Session. */
const approvalsPerSessionMax = 8;
/** Of command and stdin of what waits in one Session together; one that comes on top of it is refused: an Operator could not read it all. */
const sessionBytesMax = 256 * 1024;
/** The same over all Sessions: it goes whole to every watching client. */
const allBytesMax = 512 * 1024;
/** Of command and stdin of one request; a longer one is refused, for the same reason. */
const linesMax = 2_000;
/** Characters in it that can only be shown by their names; with more it is refused. */
const namedMax = 1_000;
/** Asked in one Turn; one more is refused at once with a sentence. */
const approvalsPerTurnMax = 100;
/** Settled ones that a late decision is told about; of an older one only the Session's log knows. */
const settledKeptMax = 1_000;

interface Entry {
  readonly asking: Asking;
  readonly shown: Omit<PendingApproval, "session_name">;
  readonly verdict: PromiseWithResolvers<Verdict>;
}

/** Without what it asked for, which may be long. */
interface SettledEntry extends Pick<PendingApproval, "session_id" | "sha256"> {
  readonly verdict: Promise<Verdict>;
}

export interface Verdict extends Settled {
  readonly reason?: string;
  readonly unrecorded?: boolean;
}

interface ApprovalsDeps {
  readonly clock: Clock;
  readonly newId: () => ApprovalId;
  readonly log: (text: string) => void;
}

/** Binds an Approval to all that will be run by it: sha256, in hex, of this text in UTF-8. */
export function approvalHashed(
  what: Pick<PendingApproval, "approval" | "target" | "account" | "command"> & {
    readonly session: SessionId;
    readonly stdinSha256: string;
  },
): string {
  const { session, approval, target, account, command, stdinSha256 } = what;
  return sha256(
    JSON.stringify(["breakglass approval 1", session, approval, target, account, command, stdinSha256]),
  );
}

export function createApprovals(deps: ApprovalsDeps): AskedApprovals {
  const { clock, newId } = deps;
  /** Those that an Operator is shown. Whoever takes one out of here settles it: nobody else can. */
  const waiting = new Map<ApprovalId, Entry>();
  const settled = new Map<ApprovalId, SettledEntry>();
  /** Those and the ones that are about to be shown, until what became of them is on record. */
  const places = new Set<Entry>();
  const listeners = new Set<() => void>();

  async function ask(asking: Asking): Promise<Answered> {
    const { session, command, until, turn } = asking;
    if (Buffer.byteLength(command) > commandBytesMax) return refused(tooLong(commandBytesMax));
    const full = noPlace(session);
    if (full !== null) return refused(full);
    if (turn.count >= approvalsPerTurnMax) return refused(tooOften(approvalsPerTurnMax));
    turn.count++;
    const stdin = await stdinOf(asking);
    if (until.aborted) return refused(notRun({ decision: "void", reason: String(until.reason) }));
    if (typeof stdin === "string") return refused(stdinRefused[stdin]);
    const entry = entryOf(asking, stdin);
    const fingerprint = fingerprintOf(entry.shown);
    if (turn.denied.has(fingerprint)) return refused(deniedBefore);
    const unreadable = noReading(entry.shown);
    if (unreadable !== null) return refused(unreadable);
    // Places may have been taken while stdin was read.
    const fullNow = noPlace(session, bytesOf(entry));
    if (fullNow !== null) return refused(fullNow);
    places.add(entry);
    try {
      if (!(await recordAsked(deps, asking, entry.shown, stdin))) return not(notAsked);
      const verdict = await show(entry);
      if (verdict.decision === "approved") return { kind: "approved", approval: entry.shown.approval };
      if (verdict.decision === "denied") turn.denied.add(fingerprint);
      return not(notRun(verdict));
    } finally {
      places.delete(entry);
    }
  }

  function noPlace(session: SessionId, bytes = 0): string | null {
    const own = [...places].filter(({ asking }) => asking.session === session);
    if (own.length >= approvalsPerSessionMax)
      return tooMany(approvalsPerSessionMax, "requests of this session");
    const together = (entries: readonly Entry[]) =>
      entries.reduce((sum, entry) => sum + bytesOf(entry), bytes);
    if (together(own) > sessionBytesMax) return tooMuchAtOnce(sessionBytesMax, "of this session");
    if (together([...places]) > allBytesMax) return tooMuchAtOnce(allBytesMax, "of all sessions");
    return places.size >= approvalsAtOnceMax ? tooMany(approvalsAtOnceMax, "requests") : null;
  }

  async function stdinOf({ stdin, turn }: Asking): Promise<Buffer | NotWhole> {
    if (stdin === null) return Buffer.alloc(0);
    const release = await turn.reading.take(null);
    try {
      return await stdin(approvalStdinBytesMax, approvalStdinMsMax);
    } finally {
      release?.();
    }
  }

  function entryOf(asking: Asking, stdin: Buffer): Entry {
    const { session, target, account, command, why } = asking;
    const approval = newId();
    const stdinSha256 = sha256(stdin);
    const now = clock.now().getTime();
    return {
      asking,
      shown: {
        approval,
        session_id: session,
        target,
        account,
        command,
        stdin: {
          bytes: stdin.length,
          sha256: stdinSha256,
          ...(isUtf8(stdin) ? { text: stdin.toString() } : { base64: stdin.toString("base64") }),
        },
        sha256: approvalHashed({ session, approval, target, account, command, stdinSha256 }),
        asked_at: new Date(now).toISOString(),
        expires_at: new Date(now + approvalMsMax).toISOString(),
        why,
      },
      verdict: Promise.withResolvers(),
    };
  }

  /** From here on an Operator may decide. */
  async function show(entry: Entry): Promise<Verdict> {
    const { asking, shown } = entry;
    waiting.set(shown.approval, entry);
    const left = Date.parse(shown.expires_at) - clock.now().getTime();
    const callOff = clock.after(left, () => settle(entry, "expired"));
    const overtaken = () => settle(entry, "void", { reason: String(asking.until.reason) });
    asking.until.addEventListener("abort", overtaken);
    if (asking.until.aborted) overtaken();
    else tell();
    const verdict = await entry.verdict.promise;
    callOff();
    asking.until.removeEventListener("abort", overtaken);
    return verdict;
  }

  async function decide(
    session: SessionId,
    approval: ApprovalId,
    { decision, sha256 }: ApprovalRequest,
    by: string,
  ): Promise<DecideAnswer> {
    const entry = waiting.get(approval);
    const { session_id, sha256: own } = entry?.shown ?? settled.get(approval) ?? {};
    if (own === undefined || session_id !== session) return { kind: "none" };
    if (!equal(sha256, own)) return { kind: "another" };
    // A timer may be late, a decision may not.
    if (entry !== undefined && clock.now().getTime() >= Date.parse(entry.shown.expires_at))
      settle(entry, "expired");
    const before = settled.get(approval);
    if (before !== undefined) return settledAnswer(await before.verdict);
    settle(entry!, decision === "approve" ? "approved" : "denied", { by });
    const verdict = await entry!.verdict.promise;
    if (verdict.unrecorded) return { kind: "unrecorded", reason: verdict.reason ?? notInTime };
    return verdict.decision === "approved" || verdict.decision === "denied"
      ? { kind: "decided", decision: verdict.decision }
      : settledAnswer(verdict);
  }

  /** The first one settles; whoever comes after it changes nothing. */
  function settle(
    entry: Entry,
    decision: ApprovalDecided["decision"],
    more: { readonly by?: string; readonly reason?: string } = {},
  ): void {
    const { asking, shown, verdict } = entry;
    if (!waiting.delete(shown.approval)) return;
    const { session_id, sha256 } = shown;
    settled.set(shown.approval, { session_id, sha256, verdict: verdict.promise });
    if (settled.size > settledKeptMax) settled.delete(settled.keys().next().value!);
    const asked = { decision, at: clock.now().toISOString(), ...more };
    void recordVerdict(deps, asking, shown.approval, asked).then(verdict.resolve);
    tell();
  }

  function tell(): void {
    for (const listener of listeners) listener();
  }

  return {
    ask,
    decide,
    pending: () => [...waiting.values()].map(({ shown }) => shown),
    waiting: (session) => [...waiting.values()].some(({ asking }) => asking.session === session),
    watch(onChange) {
      listeners.add(onChange);
      return () => listeners.delete(onChange);
    },
  };
}

function not(sentence: string): Answered {
  return { kind: "not", sentence };
}

function refused(sentence: string): Answered {
  return { kind: "refused", sentence };
}

function settledAnswer({ decision, by, at }: Verdict): DecideAnswer {
  return { kind: "settled", decision, at, ...(by !== undefined && { by }) };
}

function bytesOf({ shown: { command, stdin } }: Entry): number {
  return Buffer.byteLength(command) + stdin.bytes;
}

/** A sentence when it is more than a person could read. */
function noReading({ command, stdin: { text = "" } }: Entry["shown"]): string | null {
  const shown = [command, text];
  if (shown.reduce((sum, each) => sum + each.split("\n").length, 0) > linesMax) return tooManyLines(linesMax);
  const named = shown.flatMap((each) => visible(each).filter((piece) => piece.named)).length;
  return named > namedMax ? tooManyNamed(namedMax) : null;
}

/** The same for the same request, asked again. */
function fingerprintOf({ target, account, command, stdin }: Entry["shown"]): string {
  return sha256(JSON.stringify([target, account, command, stdin.sha256]));
}

function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}
