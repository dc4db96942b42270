import type { EventBody, StoredEvent } from "../../protocol/events.ts";
import type { SessionId, TurnId } from "../../protocol/ids.ts";
import type { Mode } from "../../protocol/api.ts";
import type { Agent, BrokerDoor, TurnEnd } from "../agent/agent.ts";
import { redact } from "../audit/redact.ts";
import { within, type Clock } from "../clock.ts";
import { readable } from "../store/readable.ts";
import type { Store } from "../store/store.ts";
import { digestOf } from "./digest.ts";
import { admitMs, cancelWaitMs } from "./limits.ts";
import { Live } from "./live.ts";
import { emptyState, note, type SessionState } from "./state.ts";

export interface Prompt {
  readonly text: string;
  readonly model: string | undefined;
  readonly key: string | undefined;
  readonly by: string;
}

/** What may happen to a prompt. "unrecorded": it could not be written down, so nothing was started. */
export type PromptAnswer =
  | { readonly kind: "started" }
  | { readonly kind: "running" }
  | { readonly kind: "too_many"; readonly turnsAtOnceMax: number }
  | { readonly kind: "no_room"; readonly freeBytes: number }
  | { readonly kind: "unrecorded"; readonly reason: string }
  | { readonly kind: "closing" };

/** The Session's door to the Broker, as the Broker hands it out. */
export interface SessionDoor extends BrokerDoor {
  /** From now on knocks are answered. */
  beginTurn(): void;
  /** Ends what still runs for the Turn, and settles it in the record. */
  endTurn(): Promise<void>;
  close(): Promise<void>;
}

export interface SessionDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly agent: Agent;
  readonly newTurnId: () => TurnId;
  readonly openDoor: (session: {
    readonly id: SessionId;
    readonly mode: () => Mode;
    readonly record: (event: EventBody) => Promise<void>;
    /** The number of the next `exec`. */
    readonly nextExec: number;
  }) => Promise<SessionDoor>;
  readonly mode: () => Mode;
  /** Takes one of the places for Turns; null when there is none. */
  readonly takeTurn: () => { release(): void } | PromptAnswer;
  /** null when there is room on the disk. */
  readonly refuseForRoom: () => Promise<PromptAnswer | null>;
  /** Told of what is our own fault, once, where it is reported. */
  readonly report: (error: unknown) => void;
}

/** The stream of a Session's Events. */
export const sessionStream = (id: SessionId) => `session/${id}`;

/** One conversation: the only writer of its own log. */
export class Session {
  readonly id: SessionId;
  readonly live = new Live();
  readonly #deps: SessionDeps;
  readonly #state: SessionState;
  #turn: { readonly id: TurnId; readonly stop: AbortController; readonly ended: Promise<void> } | null = null;
  /** A prompt on its way to disk: a second one with its key gets its answer, any other is told that a Turn runs. */
  #admission: { readonly key: string | undefined; readonly answer: Promise<PromptAnswer> } | null = null;
  #mending: Promise<void> | null = null;
  #door: Promise<SessionDoor> | null = null;

  /**
   * Opens the Session: folds its log, and settles what a crash left open. What is damaged is left out, and a disk that takes
   * no settling now is no reason to keep anybody from reading.
   */
  static async open(deps: SessionDeps, id: SessionId): Promise<Session> {
    const state = emptyState();
    let damaged = 0;
    for await (const record of readable(deps.store, sessionStream(id), () => damaged++)) {
      note(state, record as unknown as StoredEvent);
    }
    if (damaged > 0) deps.report(new Error(`${damaged} events of session ${id} are damaged, and left out`));
    const session = new Session(deps, id, state);
    await session.mend();
    return session;
  }

  private constructor(deps: SessionDeps, id: SessionId, state: SessionState) {
    this.#deps = deps;
    this.id = id;
    this.#state = state;
  }

  get running(): boolean {
    return this.#turn !== null || this.#admission !== null;
  }

  /** Nobody runs anything in it, and nobody is attached. */
  get idle(): boolean {
    return !this.running && !this.live.watched;
  }

  /** Settles a Turn that a crash or a full disk left open. Never rejects, and waits for a hung disk only for a while. */
  async mend(): Promise<void> {
    if (this.running || this.#state.open === null) return;
    this.#mending ??= this.#settleOpenTurn()
      .catch(this.#deps.report)
      .finally(() => (this.#mending = null));
    await within(this.#deps.clock, admitMs, this.#mending);
  }

  /** Resolves once the prompt is on disk; the Turn then goes on by itself. */
  prompt(prompt: Prompt): Promise<PromptAnswer> {
    const { key } = prompt;
    if (key !== undefined && this.#state.keys.has(key)) return Promise.resolve({ kind: "started" });
    if (key !== undefined && this.#admission?.key === key) return this.#admission.answer;
    if (this.running) return Promise.resolve({ kind: "running" });
    const answer = this.#admit(prompt).finally(() => (this.#admission = null));
    this.#admission = { key, answer };
    return answer;
  }

  async #admit({ text, model, key, by }: Prompt): Promise<PromptAnswer> {
    const place = this.#deps.takeTurn();
    if ("kind" in place) return place;
    const turn = this.#deps.newTurnId();
    try {
      const refusal = await this.#deps.refuseForRoom();
      if (refusal !== null) {
        place.release();
        return refusal;
      }
      const recorded = this.#record(
        { kind: "user", text, ...(key && { key }), ...(model && { model }) },
        turn,
        by,
      );
      if ((await within(this.#deps.clock, admitMs, recorded)) === null) throw new Error(diskHangs);
    } catch (error) {
      place.release();
      return { kind: "unrecorded", reason: error instanceof Error ? error.message : String(error) };
    }
    const stop = new AbortController();
    const ended = this.#run(turn, text, model, stop.signal).finally(() => {
      this.#turn = null;
      place.release();
    });
    this.#turn = { id: turn, stop, ended };
    return { kind: "started" };
  }

  /** Behind whatever a crash left open. Answers true, since null means "not in time". */
  async #record(body: EventBody, turn: TurnId, by: string): Promise<true> {
    await this.#mending;
    await this.#settleOpenTurn();
    await this.#append(body, turn, by);
    return true;
  }

  /** Stops the Turn; answers whether there was one, when it is gone or `cancelWaitMs` have passed. */
  async cancel(): Promise<boolean> {
    return this.#stop("cancelled");
  }

  async #stop(reason: StopReason): Promise<boolean> {
    // Stop in the moment of sending means the Turn that is about to begin.
    await this.#admission?.answer;
    const turn = this.#turn;
    if (turn === null) return false;
    turn.stop.abort(reason);
    await within(this.#deps.clock, cancelWaitMs, turn.ended);
    return true;
  }

  /** Ends the Turn as interrupted, and lets the agent and the door go. */
  async close(): Promise<void> {
    await this.#stop("interrupted");
    const door = await this.#door;
    await door?.close();
    await this.#deps.agent.release(this.id);
  }

  /** Never rejects: what goes wrong in a Turn is an Event, and what cannot be recorded is reported. */
  async #run(turn: TurnId, text: string, model: string | undefined, signal: AbortSignal): Promise<void> {
    let end: TurnEnd = "failed";
    try {
      end = await this.#answer(turn, text, model, signal);
      if (end === "cancelled" && (signal.reason as StopReason) === "interrupted") {
        this.live.clear();
        await this.#settleOpenTurn();
        return;
      }
      if (end === "cancelled") await this.#append({ kind: "cancelled" }, turn);
    } catch (error) {
      this.#deps.report(error);
      await this.#append({ kind: "error", error: turnBroke(error) }, turn).catch(this.#deps.report);
    }
    this.live.clear();
    // When even this cannot be written, the Turn stays open in the log and is settled before the next one.
    await this.#append({ kind: "turn_end", reason: end }, turn).catch(this.#deps.report);
  }

  async #answer(
    turn: TurnId,
    prompt: string,
    model: string | undefined,
    signal: AbortSignal,
  ): Promise<TurnEnd> {
    const problem = this.#deps.agent.problem();
    if (problem !== null) {
      await this.#append({ kind: "error", error: problem }, turn);
      return "failed";
    }
    const door = await this.#openDoor();
    door.beginTurn();
    try {
      return await this.#deps.agent.turn({
        session: this.id,
        turn,
        prompt,
        model,
        resume: this.#state.agentSession,
        digest: () => this.#digest(),
        door,
        signal,
        report: async (event) => {
          if (event.kind === "text") this.live.clear();
          await this.#append(event, turn, "agent");
        },
        show: (news) => this.live.show(turn, news),
      });
    } finally {
      await door.endTurn();
    }
  }

  #openDoor(): Promise<SessionDoor> {
    this.#door ??= this.#deps
      .openDoor({
        id: this.id,
        mode: this.#deps.mode,
        record: async (event) => this.#append(event, this.#turn?.id, "agent"),
        nextExec: this.#state.nextExec,
      })
      .catch((error: unknown) => {
        this.#door = null;
        throw error;
      });
    return this.#door;
  }

  async #digest(): Promise<string> {
    const stream = sessionStream(this.id);
    const head = await this.#deps.store.head(stream);
    const records = await this.#deps.store.read(stream, Math.max(-1, head - recordsAtOnce), recordsAtOnce);
    return digestOf(records as unknown as StoredEvent[]);
  }

  /** What a crash or a full disk left open is said to be unknown, never guessed. */
  async #settleOpenTurn(): Promise<void> {
    const { open } = this.#state;
    if (open === null) return;
    const reason = "The server stopped before the answer came. It may have been carried out.";
    const execs = [...open.execs.values()];
    const operations = [...open.operations.values()];
    for (const started of execs) {
      const { phase: _, ...same } = started;
      const unknown = {
        phase: "settled",
        end: { kind: "unknown", reason },
        duration_ms: 0,
        bytes: 0,
        excerpt: "",
      } as const;
      await this.#append({ ...bare(same), ...unknown }, open.turn);
    }
    for (const requested of operations) {
      const { operation, target, verb } = requested;
      const outcome = { kind: "unknown", reason } as const;
      await this.#append(
        { kind: "operation", phase: "settled", operation, target, verb, outcome, durable: true },
        open.turn,
      );
    }
    const unknown = [
      ...execs.map(({ target, command }) => `${target}: ${command}`),
      ...operations.map(({ target, verb }) => `${verb} on ${target}`),
    ];
    await this.#append({ kind: "interrupted", unknown }, open.turn);
    await this.#append({ kind: "turn_end", reason: "interrupted" }, open.turn);
  }

  /** Resolves when the Event is on disk. */
  async #append(body: EventBody, turn: TurnId | undefined, by?: string): Promise<void> {
    const event = {
      ...redacted(body),
      at: this.#deps.clock.now().toISOString(),
      ...(turn && { turn }),
      ...(by && { by }),
    };
    await this.#deps.store.append(sessionStream(this.id), [event]);
    note(this.#state, event);
  }
}

/** Every text in it without what looks like a secret: what is not written cannot leak. */
function redacted<T>(value: T): T {
  if (typeof value === "string") return redact(value) as T;
  if (Array.isArray(value)) return value.map(redacted) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, redacted(each)])) as T;
}

const diskHangs =
  "The disk of the record did not take it in time. Verbs still work. Look at the disk of the machine that runs Breakglass, then send again.";

type StopReason = "cancelled" | "interrupted";

const recordsAtOnce = 500;

/** A stored Event without its stamp. */
function bare<T extends object>(event: T): T {
  const {
    id: _id,
    at: _at,
    turn: _turn,
    by: _by,
    ...body
  } = event as T & Record<"id" | "at" | "turn" | "by", unknown>;
  return body as unknown as T;
}

function turnBroke(error: unknown): string {
  const what = error instanceof Error ? error.message : String(error);
  return `The turn broke off: ${what} What was recorded before is whole. Send the prompt again, or use the power sheet, which needs no agent.`;
}
