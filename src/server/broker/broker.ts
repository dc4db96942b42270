import { createHash, timingSafeEqual } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Mode } from "../../protocol/api.ts";
import type {
  ExecSettled,
  ExecStarted,
  OperationRequested,
  OperationSettled,
} from "../../protocol/events.ts";
import type { OperationId, SessionId } from "../../protocol/ids.ts";
import type { Clock } from "../clock.ts";
import type { Power } from "../power/power.ts";
import { makeRuntimeFolder } from "../ssh/runtime-folder.ts";
import type { Ssh } from "../ssh/ssh.ts";
import { parseSsh } from "./ask.ts";
import { Caller, type Request } from "./caller.ts";
import { decide, type BrokerTarget, type Decision } from "./decide.ts";
import { Execs } from "./exec.ts";
import type { KeptStore } from "./kept.ts";
import type { Output } from "./output.ts";
import { runGuest, type GuestEnd } from "./run-guest.ts";
import { overShare, runVerb } from "./run-verb.ts";

/** Holds the way to the keys for agents: decides, runs, records. */
export interface Broker {
  /** Opens the door for one Session; nothing passes it before its `beginTurn`. */
  open(session: BrokerSession): Promise<Door>;
  /** Closes every door, and removes the folder of their sockets. */
  close(): Promise<void>;
}

export type BrokerEvent = ExecStarted | ExecSettled | OperationRequested | OperationSettled;

interface BrokerSession {
  readonly id: SessionId;
  /** Asked at each request, since it may change while the Session lives. */
  readonly mode: () => Mode;
  /** Resolves when the event is durable; rejects when it cannot be. */
  readonly record: (event: BrokerEvent) => Promise<void>;
  /** The `n` of the next `exec`, when the Session has had some before; default 0. */
  readonly nextExec?: number;
}

/** What the agent needs to knock (agent.ts's BrokerDoor), and what the Session needs to shut it. */
export interface Door {
  readonly socketPath: string;
  readonly token: string;
  readonly binDir: string;
  readonly busy: () => boolean;
  /** From now on requests are heard, until `endTurn`. */
  beginTurn(): void;
  /**
   * Refuses what is asked from now on, ends guest commands that still run, and waits until their end is on record. Verbs
   * run on.
   */
  endTurn(): Promise<void>;
  /** The same, and no knock is answered any more. */
  close(): Promise<void>;
}

export interface BrokerDeps {
  readonly ssh: Ssh;
  readonly power: Power;
  /** Where the output of commands is kept. */
  readonly store: KeptStore;
  /** The first is the default one: `devvm` and `pve` mean it. */
  readonly targets: readonly BrokerTarget[];
  readonly clock: Clock;
  readonly newId: () => OperationId;
  /** Unguessable, for one Session. */
  readonly newToken: () => string;
  readonly log: (text: string) => void;
  /** Of the folder for sockets, when nobody else uses this name now (see makeRuntimeFolder). */
  readonly runtimeName?: string | undefined;
}

/** Folder with the `ssh` and `scp` for the agent's PATH. */
const binDir = join(import.meta.dirname, "bin");
/** Requests of one Session at the same time; one more is refused with a sentence. */
const requestsAtOnceMax = 32;
/** Open connections of one Session; one more is closed unheard, and the shim says that the line was lost. */
const connectionsMax = 4 * requestsAtOnceMax;

export function createBroker(deps: BrokerDeps): Broker {
  const doors = new Set<OpenDoor>();
  const folder = makeRuntimeFolder(deps.runtimeName && `${deps.runtimeName}-broker`);
  return {
    async open(session) {
      // 0700, with a name of its own: a door that closes late takes nothing from the next one of its session.
      const place = mkdtempSync(folder.path("d-"));
      const door = new OpenDoor(deps, session, place, () => doors.delete(door));
      await door.listen();
      doors.add(door);
      return door;
    },
    async close() {
      await Promise.all([...doors].map((door) => door.close()));
      folder.remove();
    },
  };
}

class OpenDoor implements Door {
  readonly token: string;
  readonly binDir = binDir;
  readonly socketPath: string;
  #inTurn = false;
  #stop = new AbortController();
  readonly #callers = new Set<Caller>();
  /** Everything under way, each settled on record when its promise resolves. */
  readonly #guests = new Set<Promise<void>>();
  readonly #verbs = new Set<Promise<void>>();
  readonly #deps: BrokerDeps;
  readonly #session: BrokerSession;
  readonly #execs: Execs;
  readonly #folder: string;
  readonly #server: Server;
  readonly #onClose: () => void;

  constructor(deps: BrokerDeps, session: BrokerSession, folder: string, onClose: () => void) {
    this.#deps = deps;
    this.#session = session;
    this.#onClose = onClose;
    this.#execs = new Execs(deps, session);
    this.token = deps.newToken();
    this.#folder = folder;
    this.socketPath = join(folder, "s");
    this.#server = createServer((socket) => void this.#answer(new Caller(socket)));
    this.#server.maxConnections = connectionsMax;
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.socketPath, resolve);
    });
  }

  busy = (): boolean => this.#guests.size + this.#verbs.size > 0;

  beginTurn(): void {
    this.#inTurn = true;
    this.#execs.beginTurn();
  }

  async endTurn(): Promise<void> {
    this.#inTurn = false;
    this.#stop.abort("The turn ended.");
    this.#stop = new AbortController();
    await Promise.all(this.#guests);
  }

  async close(): Promise<void> {
    this.#onClose();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.endTurn();
    for (const caller of this.#callers) caller.drop();
    await closed;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #answer(caller: Caller): Promise<void> {
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
    if (this.#guests.size + this.#verbs.size >= requestsAtOnceMax) {
      return caller.answer(
        255,
        `${requestsAtOnceMax} commands already run in this session. Nothing was run: wait until some have ended.`,
      );
    }
    const decision = this.#decide(request);
    const running = decision.kind === "power" && decision.verb !== "status" ? this.#verbs : this.#guests;
    const work = this.#work(caller, request, decision).catch((error: unknown) => {
      this.#deps.log(`broker: ${String(error)}`);
      caller.answer(255, "the broker failed. What was asked may or may not have run.");
    });
    running.add(work);
    await work;
    running.delete(work);
  }

  #decide({ argv, hasStdin }: Request): Decision {
    const { targets, power, clock } = this.#deps;
    const decision = decide(parseSsh(argv, hasStdin), this.#session.mode(), targets);
    if (decision.kind !== "power") return decision;
    const sentence = overShare(power, clock, decision.target, decision.verb);
    return sentence === null
      ? decision
      : { kind: "refused", target: decision.target, account: "hypervisor", sentence };
  }

  async #work(caller: Caller, request: Request, decision: Decision): Promise<void> {
    switch (decision.kind) {
      case "refused": {
        const { target, account, sentence } = decision;
        const command = ["ssh", ...request.argv].join(" ");
        await this.#execs.refused({ target, account, command }, sentence);
        return caller.answer(255, sentence);
      }
      case "guest": {
        const { target, account, command } = decision;
        const stop = this.#stop.signal;
        const { code, sentence } = await this.#execs.run(
          { target, account: account.user, command },
          (output) =>
            runGuest({ ...this.#deps, sink: caller, output, stop, stdin: decision.stdin }, decision),
        );
        return caller.answer(code, sentence);
      }
      case "power": {
        const { target, verb } = decision;
        if (verb !== "status") return this.#verb(caller, decision);
        const { code, sentence } = await this.#execs.run(
          { target, account: "hypervisor", command: verb },
          (output) => this.#status(caller, output, target),
        );
        return caller.answer(code, sentence);
      }
    }
  }

  async #status(caller: Caller, output: Output, target: string): Promise<GuestEnd> {
    const report = await this.#deps.power.status(target);
    if ("kind" in report)
      return {
        end: { kind: "refused", reason: report.kind },
        code: 255,
        sentence: `no hypervisor is configured for ${target}.`,
      };
    for (const channel of ["stdout", "stderr"] as const) {
      const bytes = Buffer.from(report[channel]);
      output.take(channel, bytes);
      caller.send(channel, bytes);
    }
    const { exit_code } = report;
    if (exit_code === null)
      return { end: { kind: "unknown", reason: "The hypervisor gave no answer." }, code: 255 };
    return { end: { kind: "exited", code: exit_code }, code: exit_code };
  }

  async #verb(caller: Caller, { target, verb }: Extract<Decision, { kind: "power" }>): Promise<void> {
    const { power, newId } = this.#deps;
    const record = async (event: OperationRequested | OperationSettled) => {
      if (await this.#execs.inTime(this.#session.record(event))) return;
      if (event.phase === "requested")
        throw new Error(`${verb} on ${target} could not be recorded in the session, and was not sent`);
      this.#deps.log(
        `broker: the end of ${verb} on ${target} could not be recorded in session ${this.#session.id}`,
      );
    };
    const { code, sentence } = await runVerb({ power, caller, newId, record }, target, verb);
    caller.answer(code, sentence);
  }
}

/** In constant time, whatever the lengths. */
function equal(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
