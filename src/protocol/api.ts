import type { Forensics } from "./forensics.ts";
import type { OperationId, SessionId } from "./ids.ts";
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
}

export type Mode = "observe" | "supervised" | "autonomous";

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
  readonly mode: Mode;
  /** How the agent is confined: "bubblewrap", or "none" (the page then says "not confined"). */
  readonly isolation: string;
  /** null: turns can run. Otherwise why not, with the mend. */
  readonly agent_problem: string | null;
  readonly presets: readonly Preset[];
  readonly targets: readonly TargetStatus[];
  readonly notices: readonly Notice[];
}
