import type { EventBody, RunbookSettled, RunbookStarted, StoredEvent } from "../../protocol/events.ts";
import type { ApprovalId, OperationId, SessionId, TurnId } from "../../protocol/ids.ts";
import type { Mode, Operation } from "../../protocol/api.ts";
import type { Agent, TurnEnd } from "../agent/agent.ts";
import { within, type Clock } from "../clock.ts";
import type { Runbooks } from "../runbooks/runbooks.ts";
import { readable } from "../store/readable.ts";
import type { Store } from "../store/store.ts";
import type { ModeAnswer, Prompt, RunbookAsk, StartAnswer } from "./answers.ts";
import { digestOf } from "./digest.ts";
import type { SessionDoor } from "./door.ts";
import { endingsOf, operationEnding } from "./endings.ts";
import { admitMs, cancelWaitMs, operationMs, runbookMsMax } from "./limits.ts";
import { Live } from "./live.ts";
import { ModeWishes } from "./mode-wishes.ts";
import { SessionMode } from "./mode.ts";
import { redacted } from "./redacted.ts";
import { emptyState, note, type SessionState, type SettledApproval } from "./state.ts";
import { Turn, type StopReason } from "./turn.ts";

export interface SessionDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly agent: Agent;
  readonly newTurnId: () => TurnId;
  readonly openDoor: (session: {
    readonly id: SessionId;
    readonly mode: () => Mode;
    /** `by` is "agent" where nobody else is named. */
    readonly record: (event: EventBody, by?: string) => Promise<void>;
    /** The number of the next `exec`. */
    readonly nextExec: number;
  }) => Promise<SessionDoor>;
  /** The configured one. */
  readonly mode: () => Mode;
  readonly runbooks: Runbooks;
  /** What became of an Operation; undefined: there is none. */
  readonly operation: (id: OperationId) => Promise<Operation | undefined>;
  /** Takes one of the places for Turns; null when there is none. */
  readonly takeTurn: () => { release(): void } | StartAnswer;
  /** null when there is room on the disk. */
  readonly refuseForRoom: () => Promise<StartAnswer | null>;
  /** Told of what is our own fault, once, where it is reported. */
  readonly report: (error: unknown) => void;
}

/** The stream of a Session's Events. */
export const sessionStream = (id: SessionId) => `session/${id}`;

/** One conversation: the only writer of its own log. */
export class Session {
  readonly id: SessionId;
  readonly live = new Live();
  readonly mode: SessionMode;
  readonly #deps: SessionDeps;
  readonly #state: SessionState;
  readonly #wishes: ModeWishes;
  /** Operations that a server before this one left open. */
  readonly #left: Set<OperationId>;
  #turn: Turn | null = null;
  /** A prompt on its way to disk: a second one with its key gets its answer, any other is told that a Turn runs. */
  #admission: { readonly key: string | undefined; readonly answer: Promise<StartAnswer> } | null = null;
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
    this.#left = new Set(state.operations.keys());
    this.mode = new SessionMode({ clock: deps.clock, configured: deps.mode }, state.mode);
    this.#wishes = new ModeWishes({
      mode: this.mode,
      record: (mode, by) => this.#append({ kind: "mode", ...mode }, undefined, by),
      inTime: (recorded) => this.#inTime(recorded),
    });
    this.mode.watch(() => void this.#door?.then((door) => door.modeChanged()).catch(deps.report));
  }

  get running(): boolean {
    return this.#turn !== null || this.#admission !== null;
  }

  /** Nobody runs anything in it, nobody is attached, and the record knows what it knows. */
  get idle(): boolean {
    return !this.running && !this.live.watched && this.#wishes.settled;
  }

  /** How a request for an Approval ended, as far as the log tells; undefined: it did not, or there was none. */
  decided(approval: ApprovalId): SettledApproval | undefined {
    return this.#state.decided.get(approval);
  }

  /** Settles what a crash or a full disk left open. Never rejects, and waits for a hung disk only for a while. */
  async mend(): Promise<void> {
    this.#wishes.settle();
    if (this.running || (this.#state.open === null && this.#left.size === 0)) return;
    this.#mending ??= this.#settleOpen()
      .catch(this.#deps.report)
      .finally(() => (this.#mending = null));
    await within(this.#deps.clock, admitMs, this.#mending);
  }

  /** Resolves once the prompt is on disk; the Turn then goes on by itself. */
  prompt({ text, model, key, by }: Prompt): Promise<StartAnswer> {
    const first = { kind: "user", text, ...(key && { key }), ...(model && { model }) } as const;
    return this.#begin(first, by, (turn) => this.#answer(turn, text, model));
  }

  /** The same for a Turn that no model answers. */
  runbook({ runbook: { name, title }, target, key, by }: RunbookAsk): Promise<StartAnswer> {
    const facts = { kind: "runbook", name, title, target } as const;
    return this.#begin({ ...facts, phase: "started", ...(key && { key }) }, by, (turn) =>
      this.#runRunbook(turn, facts, by),
    );
  }

  setMode(mode: Mode, by: string): Promise<ModeAnswer> {
    return this.#wishes.wish(mode, by);
  }

  #begin(
    first: Extract<EventBody, { kind: "user" }> | RunbookStarted,
    by: string,
    act: (turn: Turn) => Promise<TurnEnd>,
  ): Promise<StartAnswer> {
    const { key } = first;
    if (key !== undefined && this.#state.keys.has(key)) return Promise.resolve({ kind: "started" });
    if (key !== undefined && this.#admission?.key === key) return this.#admission.answer;
    if (this.running) return Promise.resolve({ kind: "running" });
    const answer = this.#admit(first, by, act).finally(() => (this.#admission = null));
    this.#admission = { key, answer };
    return answer;
  }

  async #admit(first: EventBody, by: string, act: (turn: Turn) => Promise<TurnEnd>): Promise<StartAnswer> {
    const place = this.#deps.takeTurn();
    if ("kind" in place) return place;
    const id = this.#deps.newTurnId();
    try {
      const refusal = await this.#deps.refuseForRoom();
      if (refusal !== null) {
        place.release();
        return refusal;
      }
      await this.#inTime(this.#recordFirst(first, id, by));
    } catch (error) {
      place.release();
      return { kind: "unrecorded", reason: messageOf(error) };
    }
    const turn = new Turn(id);
    this.#turn = turn;
    void this.#run(turn, act).then(() => {
      this.#turn = null;
      place.release();
      turn.over();
    });
    return { kind: "started" };
  }

  /** Behind whatever a crash left open. */
  async #recordFirst(body: EventBody, turn: TurnId, by: string): Promise<void> {
    await this.#mending;
    await this.#settleOpen();
    await this.#append(body, turn, by);
  }

  /** Rejects when the disk does not take it in time. */
  async #inTime(recorded: Promise<void>): Promise<void> {
    const done = await within(
      this.#deps.clock,
      admitMs,
      recorded.then(() => true),
    );
    if (done === null) throw new Error(diskHangs);
  }

  /** Stops the Turn; answers whether there was one, when it is gone or `cancelWaitMs` have passed. */
  async cancel(by: string): Promise<boolean> {
    return this.stop({ kind: "cancelled", by });
  }

  /** The same for another reason. */
  async stop(why: StopReason): Promise<boolean> {
    // Stop in the moment of sending means the Turn that is about to begin.
    await this.#admission?.answer;
    const turn = this.#turn;
    if (turn === null) return false;
    turn.stop(why);
    await within(this.#deps.clock, cancelWaitMs, turn.ended);
    return true;
  }

  /** Ends the Turn as interrupted, and lets the agent and the door go. */
  async close(): Promise<void> {
    await this.stop({ kind: "interrupted" });
    this.mode.close();
    const door = await this.#door;
    await door?.close();
    await this.#deps.agent.release(this.id);
  }

  /** Never rejects: what goes wrong in a Turn is an Event, and what cannot be recorded is reported. */
  async #run(turn: Turn, act: (turn: Turn) => Promise<TurnEnd>): Promise<void> {
    let end: TurnEnd = "failed";
    try {
      end = await act(turn);
      if (turn.why?.kind === "interrupted" && end === "cancelled") {
        this.live.clear();
        return await this.#settleOpen();
      }
    } catch (error) {
      this.#deps.report(error);
      await this.#append({ kind: "error", error: turnBroke(error) }, turn.id).catch(this.#deps.report);
    }
    this.live.clear();
    // When even this cannot be written, the Turn stays open in the log and is settled before the next one.
    await this.#append({ kind: "turn_end", reason: end }, turn.id).catch(this.#deps.report);
  }

  /** Said before what still runs on a Target is ended, which may take a while. */
  async #sayWhyStopped({ id, why }: Turn): Promise<TurnEnd> {
    switch (why?.kind) {
      case "interrupted":
        return "cancelled";
      case "limit":
        await this.#append({ kind: "error", error: why.error }, id);
        return "failed";
      case "frozen": {
        const reason = `${why.by} froze all agents. No turn runs until that is lifted.`;
        await this.#append({ kind: "cancelled", reason }, id, why.by);
        return "cancelled";
      }
      case "cancelled":
        await this.#append({ kind: "cancelled" }, id, why.by);
        return "cancelled";
      default:
        await this.#append({ kind: "cancelled" }, id);
        return "cancelled";
    }
  }

  async #answer(turn: Turn, prompt: string, model: string | undefined): Promise<TurnEnd> {
    const problem = this.#deps.agent.problem();
    if (problem !== null) {
      await this.#append({ kind: "error", error: problem }, turn.id);
      return "failed";
    }
    const door = await this.#openDoor();
    door.beginTurn();
    try {
      const end = await this.#deps.agent.turn({
        session: this.id,
        turn: turn.id,
        prompt,
        model,
        resume: this.#state.agentSession,
        after: this.#state.last,
        digest: () => this.#digest(),
        door,
        signal: turn.signal,
        report: async (event) => {
          if (event.kind === "text") this.live.clear();
          // What a Turn says that was ended for saying too much is left out; its error says so.
          if (turn.why?.kind === "limit") return;
          await this.#append(event, turn.id, "agent");
        },
        show: (news) => this.live.show(turn.id, news),
      });
      return end === "cancelled" ? await this.#sayWhyStopped(turn) : end;
    } finally {
      await door.endTurn();
    }
  }

  /** The door is not opened for knocks: what an agent may have left running is not heard in a Turn of ours. */
  async #runRunbook(
    turn: Turn,
    facts: Pick<RunbookSettled, "kind" | "name" | "title" | "target">,
    by: string,
  ): Promise<TurnEnd> {
    const { runbooks, clock } = this.#deps;
    const door = await this.#openDoor();
    const callOff = clock.after(runbookMsMax, () =>
      turn.stop({ kind: "limit", error: runbookTooLong(facts.title) }),
    );
    try {
      const { signal } = turn;
      const settled = await runbooks.run(facts.name, {
        target: facts.target,
        ask: (asked) => door.runFixed({ ...asked, by, signal }),
        signal,
      });
      if (settled === null) throw new Error(`there is no runbook ${facts.name} any more.`);
      await this.#append({ ...settled, ...facts, phase: "settled" }, turn.id, by);
      return "done";
    } catch (error) {
      if (turn.signal.aborted) return await this.#sayWhyStopped(turn);
      throw error;
    } finally {
      callOff();
      await door.endTurn();
    }
  }

  #openDoor(): Promise<SessionDoor> {
    this.#door ??= this.#deps
      .openDoor({
        id: this.id,
        mode: () => this.mode.now().mode,
        record: (event, by = "agent") => this.#append(event, this.#turnOf(event), by),
        nextExec: this.#state.nextExec,
      })
      .catch((error: unknown) => {
        this.#door = null;
        throw error;
      });
    return this.#door;
  }

  /** A Verb goes on although its Turn has ended: its end belongs to no later one. */
  #turnOf(event: EventBody): TurnId | undefined {
    const now = this.#turn?.id;
    if (event.kind !== "operation" || event.phase === "requested") return now;
    return this.#state.operations.get(event.operation)?.turn === now ? now : undefined;
  }

  async #digest(): Promise<string> {
    const stream = sessionStream(this.id);
    const head = await this.#deps.store.head(stream);
    const records = await this.#deps.store.read(stream, Math.max(-1, head - recordsAtOnce), recordsAtOnce);
    return digestOf(records as unknown as StoredEvent[]);
  }

  /** What a crash or a full disk left open is said to be unknown, never guessed. */
  async #settleOpen(): Promise<void> {
    const lost = await this.#settleLeftOperations();
    const { open, operations, nextExec } = this.#state;
    if (open === null) return;
    const underWay = [...operations.values()].map(({ target, verb }) => `${verb} on ${target}`);
    for (const ending of endingsOf(open, nextExec, [...lost, ...underWay]))
      await this.#append(ending, open.turn, ending.kind === "decision" ? ourselves : undefined);
  }

  /** Answers those of which nobody knows the end. */
  async #settleLeftOperations(): Promise<readonly string[]> {
    const lost: string[] = [];
    for (const id of this.#left) {
      const asked = this.#state.operations.get(id);
      if (asked !== undefined) {
        const looked = this.#deps.operation(id).catch(() => undefined);
        const known = await within(this.#deps.clock, operationMs, looked);
        const ending = operationEnding(asked, known?.outcome, known?.durable ?? true);
        if (ending.outcome.kind === "unknown") lost.push(`${asked.verb} on ${asked.target}`);
        const { open } = this.#state;
        await this.#append(ending, asked.turn === open?.turn ? asked.turn : undefined);
      }
      this.#left.delete(id);
    }
    return lost;
  }

  /** Resolves when the Event is on disk. */
  async #append(body: EventBody, turn: TurnId | undefined, by?: string): Promise<void> {
    const event = {
      ...redacted(body),
      at: this.#deps.clock.now().toISOString(),
      ...(turn && { turn }),
      ...(by && { by }),
    };
    if (turn !== undefined && turn === this.#turn?.id) this.#turn.count(JSON.stringify(event).length);
    await this.#deps.store.append(sessionStream(this.id), [event]);
    note(this.#state, event);
  }
}

const diskHangs =
  "The disk of the record did not take it in time. Verbs still work. Look at the disk of the machine that runs Breakglass, then send again.";

const runbookTooLong = (title: string) =>
  `${title} was not through within ${runbookMsMax / 60_000} minutes and was ended. What its steps showed until then is above. Run it again, or use the power sheet.`;

/** In the record, of what nobody decided. */
const ourselves = "breakglass";

const recordsAtOnce = 500;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function turnBroke(error: unknown): string {
  return `The turn broke off: ${messageOf(error)} What was recorded before is whole. Send the prompt again, or use the power sheet, which needs no agent.`;
}
