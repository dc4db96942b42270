import type { Isolation } from "../../protocol/api.ts";
import type { EventBody, Ephemeral, TurnEndReason } from "../../protocol/events.ts";
import type { SessionId, TurnId } from "../../protocol/ids.ts";

/** What answers prompts. It holds no key: what it wants of a Target it asks the Broker for, through `door`. */
export interface Agent {
  /** How it is confined. */
  isolation(): Isolation;
  /** null when Turns can run; otherwise one sentence: what is missing and the mend. */
  problem(): string | null;
  /**
   * Runs one Turn to its end and leaves nothing of it behind. Turns of one Session are serialised by the caller.
   * Never rejects for what may happen to an agent: that is an `error` event and the reason "failed".
   */
  turn(request: TurnRequest): Promise<TurnEnd>;
  /** Ends the Session's process, if it has one; its memory stays on disk and is resumed by the next Turn. */
  release(session: SessionId): Promise<void>;
  /** Ends all processes. */
  close(): Promise<void>;
}

export interface TurnRequest {
  readonly session: SessionId;
  readonly turn: TurnId;
  readonly prompt: string;
  readonly model: string | undefined;
  /** The agent's own id of this conversation when it has answered here before: resume it. */
  readonly resume: string | undefined;
  /** The Turn before this one, by the record. An agent whose memory may lack it is told by the digest; undefined: none. */
  readonly after?: { readonly turn: TurnId; readonly end: TurnEndReason } | undefined;
  /** What was said before in this Session, for an agent whose memory is gone. */
  readonly digest: () => Promise<string>;
  readonly door: BrokerDoor;
  /** Aborted by Stop: then all of the Turn is gone from this machine within 50 ms. */
  readonly signal: AbortSignal;
  /** One Event, in order; resolves when it is durable. Await it: that is the backpressure. */
  readonly report: (event: AgentEvent) => Promise<void>;
  readonly show: (news: AgentNews) => void;
}

/** Events that an agent may report; everything else is written by who did it. */
export type AgentEvent = Extract<
  EventBody,
  { kind: "session" | "text" | "tool" | "tool_result" | "result" | "error" }
>;

/** Live text: `text` is appended to block `block`; a higher block begins anew. Or what the Turn waits for. */
export type AgentNews =
  | { readonly name: "delta"; readonly block: number; readonly text: string }
  | Omit<Extract<Ephemeral, { name: "activity" }>, "turn">;

export type TurnEnd = "done" | "cancelled" | "failed";

/** Where the `ssh` in the agent's PATH knocks. Good for one Session. */
export interface BrokerDoor {
  readonly socketPath: string;
  readonly token: string;
  /** Folder with the `ssh` and `scp` that stand first in the agent's PATH. */
  readonly binDir: string;
  /** True while a brokered command runs: silence is not counted. */
  readonly busy: () => boolean;
  /** True while an Approval waits for a person: no time is counted. */
  readonly waiting: () => boolean;
}
