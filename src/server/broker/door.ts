import { rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Frozen, Mode } from "../../protocol/api.ts";
import { Answering, type AnsweringDeps } from "./answering.ts";
import { nothingAsked, type AskedInTurn } from "./approvals.ts";
import type { BrokerSession, Door } from "./broker.ts";
import { Caller } from "./caller.ts";
import { equal } from "./equal.ts";
import type { FixedAnswer, FixedAsk } from "./fixed.ts";
import { Hold } from "./hold.ts";

/** Folder with the `ssh` and `scp` for the agent's PATH. */
const binDir = join(import.meta.dirname, "bin");
/** Requests of one Session at the same time, also those that wait; one more is refused with a sentence. */
const requestsAtOnceMax = 32;
/** Open connections of one Session; one more is closed unheard, and the shim says that the line was lost. */
const connectionsMax = 4 * requestsAtOnceMax;

/** Where the agent of one Session knocks: a socket, a token, and when they are good. */
export class OpenDoor implements Door {
  readonly token: string;
  readonly binDir = binDir;
  readonly socketPath: string;
  #inTurn = false;
  #mode: Mode;
  #asked: AskedInTurn = nothingAsked();
  /** Ended with the Turn, and by a freeze. */
  readonly #turn = new Hold();
  /** Ended when the mode becomes observe. */
  readonly #consent = new Hold();
  /** Ended when the mode is autonomous no more. */
  readonly #autonomy = new Hold();
  readonly #callers = new Set<Caller>();
  /** All that is heard, until it was answered or its Verb was handed over; on record then. */
  readonly #heard = new Set<Promise<void>>();
  readonly #deps: AnsweringDeps;
  readonly #session: BrokerSession;
  readonly #answering: Answering;
  readonly #folder: string;
  readonly #server: Server;
  readonly #onClose: () => void;

  constructor(deps: AnsweringDeps, session: BrokerSession, folder: string, onClose: () => void) {
    this.#deps = deps;
    this.#session = session;
    this.#mode = session.mode();
    this.#onClose = onClose;
    this.#answering = new Answering(deps, session);
    this.token = deps.newToken();
    this.#folder = folder;
    this.socketPath = join(folder, "s");
    this.#server = createServer((socket) => void this.#knock(new Caller(socket)));
    this.#server.maxConnections = connectionsMax;
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.socketPath, resolve);
    });
  }

  busy = (): boolean => this.#heard.size + this.#answering.verbs.size > 0;

  waiting = (): boolean => this.#deps.approvals.waiting(this.#session.id);

  beginTurn(): void {
    this.#inTurn = true;
    this.#asked = nothingAsked();
    this.#answering.beginTurn();
  }

  async endTurn(): Promise<void> {
    this.#inTurn = false;
    this.#turn.end("The turn ended.");
    await Promise.all(this.#heard);
  }

  async runFixed(asked: FixedAsk): Promise<FixedAnswer> {
    const answer = this.#answering.fixed(asked, this.#turn.signal);
    const work = answer.then(
      () => {},
      () => {},
    );
    this.#heard.add(work);
    void work.then(() => this.#heard.delete(work));
    return answer;
  }

  freeze({ by }: Frozen): void {
    this.#turn.end(`${by} froze Breakglass.`);
  }

  modeChanged(): void {
    const [before, now] = [this.#mode, this.#session.mode()];
    this.#mode = now;
    if (now === before) return;
    const why = `The mode became ${now}.`;
    if (before === "autonomous") this.#autonomy.end(why);
    if (now === "observe") this.#consent.end(why);
  }

  async close(): Promise<void> {
    this.#onClose();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.endTurn();
    for (const caller of this.#callers) caller.drop();
    await closed;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #knock(caller: Caller): Promise<void> {
    this.#callers.add(caller);
    caller.gone.addEventListener("abort", () => this.#callers.delete(caller));
    const request = await caller.request();
    if (request === null) return;
    if (!equal(request.token, this.token)) {
      this.#deps.log(`broker: a request with a wrong token for session ${this.#session.id}`);
      return caller.answer(255, "the token is not this session's. Nothing was run.");
    }
    // What an agent left running in the background still has the token.
    if (!this.#inTurn) return caller.answer(255, "no turn is running. Nothing was run.");
    if (this.#heard.size + this.#answering.verbs.size >= requestsAtOnceMax) {
      return caller.answer(
        255,
        `${requestsAtOnceMax} requests of this session are under way already. Nothing was run: wait until some have ended.`,
      );
    }
    // A grant may have run out since the last request.
    this.modeChanged();
    const holds = {
      turn: this.#turn.signal,
      consent: this.#consent.signal,
      autonomy: this.#autonomy.signal,
      lookAgain: () => this.modeChanged(),
    };
    const work = this.#answering
      .answer({ caller, request, holds, asked: this.#asked })
      .catch((error: unknown) => {
        this.#deps.log(`broker: ${String(error)}`);
        caller.answer(255, "the broker failed. What was asked may or may not have run.");
      });
    this.#heard.add(work);
    await work;
    this.#heard.delete(work);
  }
}
