import type { Forensics } from "./forensics.ts";
import type { ApprovalDecided } from "./events.ts";
import type { ApprovalId, OperationId, SessionId } from "./ids.ts";
import type { Outcome } from "./outcome.ts";
import type { Side, TargetStatus } from "./targets.ts";
import type { Verb } from "./verbs.ts";

/** Every error, on every route. `detail` names what happened, what is still true, and the mend. */
export interface ErrorBody {
  readonly detail: string;
}

/** GET /health */
export interface Health {
  readonly status: "ok";
  readonly service: "claude-breakglass";
}

/** POST /api/session */
export interface SessionCreated {
  readonly session_id: SessionId;
}

/** POST /api/session/{id}/prompt */
export interface PromptRequest {
  readonly prompt: string;
  readonly model?: string | null;
  /** A client-made UUID: the same key starts nothing twice. */
  readonly key?: string | null;
}
export interface PromptStarted {
  readonly status: "started";
}

/** POST /api/session/{id}/cancel */
export interface CancelAnswer {
  readonly cancelled: boolean;
}

/** GET /api/pve/verbs */
export interface VerbsAnswer {
  readonly verbs: readonly Verb[];
  readonly mutating: readonly Verb[];
}

/** POST /api/pve/{verb} */
export interface VerbAnswer {
  readonly verb: Verb;
  readonly exit_code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** True when nothing was done: refused by the grammar, by a lock, or because no hypervisor is configured. */
  readonly rejected: boolean;
}

/** GET /api/sessions (newest first) and GET /api/session/{id} */
export interface SessionSummary {
  readonly session_id: SessionId;
  readonly name: string;
  readonly created_at: string;
  readonly by: string;
  readonly archived: boolean;
  readonly running: boolean;
}

/** GET /api/session/{id} */
export interface SessionDetail extends SessionSummary {
  readonly mode: ModeNow;
}

/** PATCH /api/session/{id}: any of these. Answers the SessionDetail. */
export interface SessionChange {
  readonly name?: string;
  readonly archived?: boolean;
  /** "autonomous" where the configuration does not give it anyway is granted for `grantMinutes` only. */
  readonly mode?: Mode;
}

/** Of autonomous mode, by one tap. */
export const grantMinutes = 30;

/** GET /api/session/{id}/events?before=&limit= : older Events, oldest first. */
export interface EventsPage {
  readonly events: readonly unknown[];
  /** True when there are Events before the first of these. */
  readonly more: boolean;
}

/** POST /api/targets/{t}/operations */
export interface OperationRequest {
  readonly verb: Verb;
  readonly key: OperationId;
  /** The last mutating Operation that the Operator saw: 409 when another has happened since. */
  readonly after?: OperationId | null;
}

/** 202 of the above; GET /api/operations/{id}; `operation` frames of a watching stream. */
export interface Operation {
  readonly id: OperationId;
  readonly target: string;
  readonly verb: Verb;
  readonly by: string;
  readonly requested_at: string;
  readonly settled_at?: string;
  readonly outcome?: Outcome;
  readonly exit_code?: number | null;
  /** False when it could not be recorded in time; said aloud, never hidden. */
  readonly durable: boolean;
  readonly output: string;
  /** Only in the answer to a question for this one Operation, and only where evidence was gathered. */
  readonly forensics?: Forensics;
}

/** POST /api/targets/{t}/host-key */
export interface HostKeyRequest {
  readonly side: Side;
  /** `SHA256:…`, exactly as the Operator compared it. */
  readonly fingerprint: string;
}
/** What holds now. */
export interface HostKeyAccepted {
  readonly target: string;
  readonly side: Side;
  readonly fingerprint: string;
  /** What was known before; null: nothing. */
  readonly was: string | null;
  /** False when the disk did not confirm it: it holds until the server restarts. */
  readonly durable: boolean;
}

export interface Preset {
  readonly name: string;
  readonly prompt: string;
  /** One line under the name. */
  readonly about: string;
  /** The Runbook that asks the same without a model. */
  readonly runbook?: string;
}

export type Mode = "observe" | "supervised" | "autonomous";

/** A Session's mode as it holds now. With `until` it is a grant, after which `back_to` holds. */
export interface ModeNow {
  readonly mode: Mode;
  readonly until?: string;
  readonly back_to?: Mode;
}

/** One exact request that waits for an Operator: nothing of it is stored, and nothing in it is shortened or redacted for whoever may decide. */
export interface PendingApproval {
  readonly approval: ApprovalId;
  readonly session_id: SessionId;
  readonly session_name: string;
  readonly target: string;
  /** Of the guest, or "hypervisor": then `command` is a Verb. */
  readonly account: string;
  readonly command: string;
  /** `text` where it is UTF-8, else `base64`. */
  readonly stdin: {
    readonly bytes: number;
    readonly sha256: string;
    readonly text?: string;
    readonly base64?: string;
  };
  readonly sha256: string;
  readonly asked_at: string;
  readonly expires_at: string;
  readonly why: string;
  /** For whoever may only look: without what looks like a secret, and `stdin.text` is only its beginning. */
  readonly redacted?: true;
}

/** POST /api/session/{id}/approvals/{a}: 409 when it is decided, void or expired, or when `sha256` is another request's. */
export interface ApprovalRequest {
  readonly decision: "approve" | "deny";
  /** Of the PendingApproval that the Operator read. */
  readonly sha256: string;
}
export interface ApprovalAnswer {
  readonly approval: ApprovalId;
  readonly decision: ApprovalDecided["decision"];
}

/** POST /api/session/{id}/runbook, answered like a prompt. 409 while a Turn runs. */
export interface RunbookRequest {
  readonly name: string;
  /** Default: the default Target. */
  readonly target?: string | null;
  /** A client-made UUID: the same key starts nothing twice. */
  readonly key?: string | null;
}

export interface RunbookBrief {
  readonly name: string;
  readonly title: string;
  readonly about: string;
}

/** POST /api/freeze `{frozen}`: no Turn runs and the Broker refuses everything until it is lifted; Verbs of Operators go on. */
export interface FreezeRequest {
  readonly frozen: boolean;
}
export interface FreezeAnswer {
  /** null: lifted. */
  readonly frozen: Frozen | null;
  /** False when the disk did not confirm it: it holds until the server restarts. */
  readonly durable: boolean;
}
export interface Frozen {
  readonly by: string;
  readonly at: string;
}

/** Whether the model can be reached, as far as a cheap probe and the last Turn tell. */
export interface ModelNow {
  readonly state: "answers" | "gone" | "unknown";
  readonly since: string;
  /** What was seen, and what to do meanwhile; empty when it answers. */
  readonly detail: string;
}

/** What concerns every Session: `console` frames of a watching stream, first at once, then at every change. */
export interface ConsoleNow {
  readonly frozen: Frozen | null;
  readonly model: ModelNow;
  /** The oldest first. */
  readonly approvals: readonly PendingApproval[];
}

/** Something that the page says all the time, with its mend. */
export interface Notice {
  readonly id: string;
  readonly level: "info" | "warning";
  readonly text: string;
  /** A button, where the page can mend it: POST to `path`. */
  readonly action?: { readonly label: string; readonly path: string };
}

/** GET /api/console: what the page needs before it attaches. */
export interface ConsoleFacts {
  readonly version: string;
  readonly actor: string;
  /** Of a new Session; each has its own from then on. */
  readonly mode: Mode;
  readonly isolation: Isolation;
  /** null: turns can run. Otherwise why not, with the mend. */
  readonly agent_problem: string | null;
  readonly presets: readonly Preset[];
  readonly targets: readonly TargetStatus[];
  readonly notices: readonly Notice[];
  readonly runbooks: readonly RunbookBrief[];
  readonly now: ConsoleNow;
}

/** How the agent is confined. */
export interface Isolation {
  /** "account": another uid on this machine. "runner": a program of its own, for example in a sidecar. */
  readonly kind: "bubblewrap" | "account" | "runner" | "none";
  /** For a person, one sentence: what holds, and what does not. */
  readonly says: string;
}
