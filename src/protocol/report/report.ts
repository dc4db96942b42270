import type { SessionSummary } from "../api.ts";
import type { RunbookSettled } from "../events.ts";

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

export interface ReportMode {
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

export interface Cost {
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
