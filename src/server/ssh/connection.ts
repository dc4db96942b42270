import { existsSync, rmSync } from "node:fs";
import { run } from "../process/run.ts";
import { signal } from "../process/signal.ts";
import { connectTimeoutSeconds, type SshHost } from "./config.ts";
import type { RefusedHostKey } from "./host-keys.ts";
import type { KeyAgent } from "./key.ts";
import type { KnownHosts } from "./known-hosts.ts";
import { masterState } from "./mux.ts";
import { refusal } from "./refusal.ts";
import type { NotSent } from "./ssh.ts";
import { within } from "./within.ts";

export type Opened = { readonly kind: "open"; readonly controlPath: string } | NotSent;

export interface ConnectionDeps {
  readonly env: Readonly<Record<string, string>>;
  /** The path for `-F`. */
  readonly config: string;
  readonly host: SshHost;
  readonly controlPath: (generation: number) => string;
  readonly agent: KeyAgent;
  readonly knownHosts: KnownHosts;
  /** Told at each attempt that got as far as the host's key: null when it was the right one. */
  readonly sawHostKey: (refused: RefusedHostKey | null) => void;
  readonly log: (text: string) => void;
}

interface Master {
  readonly controlPath: string;
  readonly pid: number;
}

/** An idle master ends by itself after this: so do those that a killed server left behind. */
const idleSecondsMax = 300;
/** Our own limit beyond ssh's, should it hang where ConnectTimeout does not reach. */
const openMsMax = (connectTimeoutSeconds + 10) * 1_000;
/** Sessions whose local end was killed go on at the far end and count there: sshd's 10 less our 8. Then a new master. */
const abandonedMax = 2;
/** Masters no longer trusted that are left to finish what runs on them; one more ends the oldest. */
const retiredMax = 4;
/** For an attempt that was called off to end; past this it is left to its own limits, and closing goes on. */
const closeMsMax = 500;

const stopping: NotSent = {
  kind: "not_sent",
  cause: "closed",
  reason: "The server is stopping: nothing was sent.",
};

/**
 * The warm connection to one account: an `ssh -M` in the background that sessions ride on. A master is asked before
 * each use. One that is gone, hung or silent is never used again; a new one gets a path of its own.
 */
export class Connection {
  readonly #deps: ConnectionDeps;
  #generation = 0;
  #abandoned = 0;
  #master: Master | null = null;
  #opening: Promise<Opened> | null = null;
  #retired: Master[] = [];
  readonly #closing = new AbortController();

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
  }

  /** The warm connection, or a new one; callers that come meanwhile share the attempt. */
  async open(): Promise<Opened> {
    for (;;) {
      if (this.#opening !== null) return this.#opening;
      const master = this.#master;
      if (master === null) return (this.#opening = this.#start().finally(() => (this.#opening = null)));
      const state = await masterState(master.controlPath);
      if (state.kind === "alive") return { kind: "open", controlPath: master.controlPath };
      this.#deps.log(`ssh: the master of ${this.#deps.host.alias} is ${state.kind}`);
      this.retire(master.controlPath);
    }
  }

  /** What runs on it may finish; nothing new is sent over it. Without a path: whichever is in use. */
  retire(controlPath = this.#master?.controlPath): void {
    const master = this.#master;
    if (master === null || master.controlPath !== controlPath) return;
    this.#master = null;
    this.#abandoned = 0;
    this.#retired = this.#retired.filter(({ controlPath }) => existsSync(controlPath));
    this.#retired.push(master);
    if (this.#retired.length > retiredMax) void end(this.#retired.shift()!);
  }

  /** Says that a session on it was killed from this side. */
  abandon(controlPath: string): void {
    if (this.#master?.controlPath === controlPath && ++this.#abandoned >= abandonedMax)
      this.retire(controlPath);
  }

  /** An attempt under way is ended, not awaited: its host may take the connection and say nothing. */
  async close(): Promise<void> {
    this.#closing.abort();
    await within(closeMsMax, Promise.resolve(this.#opening));
    await Promise.all([...this.#retired, ...(this.#master ? [this.#master] : [])].map(end));
    this.#master = null;
    this.#retired = [];
  }

  async #start(): Promise<Opened> {
    const { agent, knownHosts, sawHostKey } = this.#deps;
    const problem = await agent.ready();
    if (problem !== null)
      return { kind: "not_sent", cause: "no_key", reason: `${problem} Nothing was sent.` };
    const version = knownHosts.version();
    let opened = await this.#attempt();
    if (opened.kind === "not_sent" && opened.hostKey !== undefined) {
      // Somebody may have written the right key into known_hosts, or accepted it meanwhile.
      await knownHosts.sync();
      if (knownHosts.version() !== version) opened = await this.#attempt();
    }
    if (opened.kind === "open") sawHostKey(null);
    else if (opened.hostKey !== undefined) sawHostKey(opened.hostKey);
    return opened;
  }

  async #attempt(): Promise<Opened> {
    const { config, env, host, knownHosts } = this.#deps;
    if (this.#closing.signal.aborted) return stopping;
    const controlPath = this.#deps.controlPath(this.#generation++);
    // With -f it answers 0 once it is logged in and listens on the path, and goes to the background as a master.
    const args = [
      "-F",
      config,
      "-M",
      "-S",
      controlPath,
      "-o",
      `ControlPersist=${idleSecondsMax}`,
      // At this level ssh tells the fingerprint of the key that it is shown.
      "-o",
      "LogLevel=DEBUG1",
      "-f",
      "-N",
      host.alias,
    ];
    const { exit, stderr } = await run(
      { file: "ssh", args, env },
      { outputBytesMax: 16_384, deadlineMs: openMsMax },
      { cancel: this.#closing.signal },
    );
    const state = await masterState(controlPath);
    if (state.kind !== "alive")
      return this.#closing.signal.aborted ? stopping : refusal({ host, exit, stderr });
    void knownHosts.sync();
    this.#master = { controlPath, pid: state.pid };
    return { kind: "open", controlPath };
  }
}

/**
 * SIGKILL, since ssh 9.2 may miss a SIGTERM for seconds (seen); nothing but a socket's name has to be cleared up. A pid
 * may have passed to somebody else: only while the path is still listened on.
 */
async function end({ controlPath, pid }: Master): Promise<void> {
  if ((await masterState(controlPath)).kind !== "gone") signal(pid, "SIGKILL");
  rmSync(controlPath, { force: true });
}
