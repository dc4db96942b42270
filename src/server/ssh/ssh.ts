import type { Readable, Writable } from "node:stream";
import { systemPath } from "../process/programs.ts";
import { run, type Finished } from "../process/run.ts";
import { start, type Exit } from "../process/start.ts";
import { configText, nameOf, pinnedLine, type SshHost } from "./config.ts";
import { Connection, type Opened } from "./connection.ts";
import { createHostKeys, type HostKeys, type RefusedHostKey } from "./host-keys.ts";
import { openKeyAgent } from "./key.ts";
import { openKnownHosts } from "./known-hosts.ts";
import { notStarted } from "./refusal.ts";
import { makeRuntimeFolder } from "./runtime-folder.ts";
import { Slots } from "./slots.ts";
import { within } from "./within.ts";

/** The system's OpenSSH client with one warm connection per alias. List argv, no shell on this side. */
export interface Ssh {
  /** null when the key is loaded; otherwise one sentence with the mend. The mend needs no restart of the server. */
  problem(): string | null;
  /** The line for `authorized_keys`; null while no key is loaded. */
  publicKey(): string | null;
  readonly hostKeys: HostKeys;
  /**
   * Runs a command to its end. As with `ssh` itself its words are joined with a space for the far side's shell.
   * Never rejects: what happened is in `exit`.
   */
  run(alias: string, command: readonly string[], options: SshRunOptions): Promise<SshFinished>;
  /** The same as a stream, for as long as it takes. Aborted before it was sent, it is not sent; later `kill` ends it. */
  start(alias: string, command: readonly string[], cancel?: AbortSignal): Promise<SshStarted>;
  /** Ends the connections and the key agent, and removes the runtime folder. */
  close(): Promise<void>;
}

interface SshRunOptions {
  readonly input?: string | Buffer;
  readonly onOutput?: (channel: "stdout" | "stderr", text: string) => void;
  readonly outputBytesMax: number;
  /** Milliseconds from the call on, all waiting included; then the local end is killed. null: never. */
  readonly deadlineMs: number | null;
  /** Has places of its own on the connection: it never waits behind what is not. */
  readonly urgent?: boolean;
  /** When its first output has not come by then, the local end is killed, and the connection is not used again. */
  readonly silenceMsMax?: number;
  /**
   * Only for what changes nothing on the far side: it is sent once more over a fresh connection when it ended with
   * 255 and said nothing, or when its first output has not come after `firstOutputMs`.
   */
  readonly repeatable?: { readonly firstOutputMs: number | null };
}

export type SshExit =
  | Extract<Exit, { kind: "exited" | "signalled" }>
  /** Certain: nothing of the command reached the far side. `reason` is for the Operator, with the mend. */
  | NotSent;

export interface NotSent {
  readonly kind: "not_sent";
  readonly cause:
    | "no_key"
    | "unreachable"
    | "denied"
    | "host_key_unknown"
    | "host_key_changed"
    | "overloaded"
    | "unusable"
    | "cancelled"
    | "closed";
  readonly reason: string;
  /** Where the host's key was refused, and an Operator may accept it. */
  readonly hostKey?: RefusedHostKey;
}

export interface SshFinished {
  readonly exit: SshExit;
  readonly stdout: string;
  readonly stderr: string;
  readonly droppedBytes: number;
  readonly deadlinePassed: boolean;
}

type SshStarted =
  | NotSent
  | {
      readonly kind: "started";
      readonly stdin: Writable;
      readonly stdout: Readable;
      readonly stderr: Readable;
      readonly exit: Promise<SshExit>;
      /** Ends the local side. The far side only loses its pipes: what it started may go on. */
      kill(): void;
    };

export interface SshOptions {
  readonly hosts: readonly SshHost[];
  /** The private key's file; undefined: none is configured. */
  readonly keyPath: string | undefined;
  /** Folder where accepted host keys persist. */
  readonly knownHostsDir: string;
  /** Where a copy of them outlives this process in memory, for a start while that folder's disk hangs. */
  readonly knownHostsCopy?: string | undefined;
  /** Where `ssh`, `ssh-agent` and `ssh-add` are looked for. */
  readonly path?: string;
  readonly log?: (text: string) => void;
  /** Of the folder for sockets, when nobody else uses this name now (see makeRuntimeFolder). */
  readonly runtimeName?: string | undefined;
}

/** sshd admits 10 sessions on one connection (MaxSessions) and refuses the rest: more than this wait in the queue. */
const sessionsPerConnectionMax = 8;
/** Of these, those of a hypervisor that only urgent calls get: Verbs. */
const urgentSessions = 2;
/** Of a guest only urgent calls get one more: what ends a command must not wait behind commands. */
const urgentGuestSessions = 1;
/** More calls than this waiting for one connection are refused as overloaded. */
const queuedCallsMax = 256;
/** A command line longer than this is refused: the kernel allows 128 KiB for one argument. */
const commandBytesMax = 100 * 1024;
/** How long a streaming call waits for its turn on the connection before it is refused as overloaded. */
const startWaitMsMax = 60_000;

interface Line {
  readonly connection: Connection;
  readonly slots: Slots;
  readonly urgentSlots: Slots;
}

/** Opens no connection yet. A key that cannot be used is told by `problem()`; everything else goes on working. */
export async function openSsh(options: SshOptions): Promise<Ssh> {
  const path = options.path ?? systemPath;
  const env = {
    PATH: path,
    LC_ALL: "C",
    SSH_ASKPASS_REQUIRE: "never",
  };
  const log = options.log ?? (() => {});
  const folder = makeRuntimeFolder(options.runtimeName && `${options.runtimeName}-ssh`);
  const knownHosts = await openKnownHosts({
    memoryPath: folder.path("known_hosts"),
    dir: options.knownHostsDir,
    copyPath: options.knownHostsCopy,
    log,
  });
  const agent = openKeyAgent({
    env,
    socketPath: folder.path("agent"),
    publicKeyPath: folder.path("key.pub"),
    keyPath: options.keyPath,
    log,
  });
  const paths = {
    publicKey: folder.path("key.pub"),
    agentSocket: folder.path("agent"),
    knownHosts: folder.path("known_hosts"),
    pinned: (alias: string) => folder.path(`pin-${alias}`),
  };
  for (const host of options.hosts) {
    if (host.pinnedHostKey !== undefined)
      folder.write(`pin-${host.alias}`, pinnedLine(host.alias, host.pinnedHostKey));
  }
  const config = folder.write("config", configText(options.hosts, paths));
  const lines = new Map<string, Line>();
  const hostKeys = createHostKeys({
    hosts: options.hosts,
    knownHosts,
    path,
    retire(name) {
      for (const host of options.hosts) if (nameOf(host) === name) lines.get(host.alias)?.connection.retire();
    },
  });
  for (const [index, host] of options.hosts.entries()) {
    const controlPath = (generation: number) => folder.path(`m${index}.${generation}`);
    const ofVerbs = host.side === "hypervisor";
    lines.set(host.alias, {
      connection: new Connection({
        env,
        config,
        host,
        controlPath,
        agent,
        knownHosts,
        sawHostKey: (refused) => hostKeys.saw(host, refused),
        log,
      }),
      slots: new Slots(sessionsPerConnectionMax - (ofVerbs ? urgentSessions : 0), queuedCallsMax),
      urgentSlots: new Slots(ofVerbs ? urgentSessions : urgentGuestSessions, queuedCallsMax),
    });
  }
  await agent.ready();
  let closed: Promise<void> | null = null;

  const notSent = (cause: NotSent["cause"], reason: string): NotSent => ({ kind: "not_sent", cause, reason });

  /** The line to use, or why this can never be sent. */
  function lineFor(alias: string, command: string): Line | NotSent {
    if (closed !== null) return notSent("closed", "The server is stopping: nothing was sent.");
    const line = lines.get(alias);
    if (line === undefined)
      return notSent("unusable", `No machine is configured by the name "${alias}". Nothing was sent.`);
    if (command === "") return notSent("unusable", "The command is empty. Nothing was sent.");
    if (command.includes("\0"))
      return notSent("unusable", "The command contains a NUL byte. Nothing was sent.");
    if (Buffer.byteLength(command) > commandBytesMax) {
      return notSent(
        "unusable",
        `The command is longer than ${commandBytesMax} bytes. Nothing was sent: give what is long on stdin.`,
      );
    }
    return line;
  }

  const overloaded = (alias: string) =>
    notSent(
      "overloaded",
      `Too many commands wait for the connection to "${alias}". Nothing was sent: try again when some have ended.`,
    );

  // Where the master is gone or refuses before it has opened the session, ssh goes on over a connection of its own. The command
  // has not left until then (mux.c sends it when the far side has confirmed the session): it still goes once.
  const sshCommand = (alias: string, controlPath: string, command: string) => ({
    file: "ssh",
    args: ["-F", config, "-S", controlPath, alias, "--", command],
    env,
  });

  async function runOn(
    line: Line,
    alias: string,
    command: string,
    options: SshRunOptions,
    until: Until,
  ): Promise<SshFinished> {
    const opened = await within(until.leftMs(), line.connection.open());
    if (opened === null) {
      return unsent(
        notSent("unreachable", `No connection to "${alias}" within the time given. Nothing was sent.`),
        true,
      );
    }
    if (opened.kind === "not_sent") return unsent(opened);
    const once = (on: Extract<Opened, { kind: "open" }>, onOutput: SshRunOptions["onOutput"]) => {
      const silence = new AbortController();
      const distrust = () => {
        log(`ssh: nothing came over the connection to ${alias}; it is not used again`);
        line.connection.retire(on.controlPath);
        silence.abort();
      };
      const timer = options.silenceMsMax && setTimeout(distrust, options.silenceMsMax);
      return run(
        sshCommand(alias, on.controlPath, command),
        { outputBytesMax: options.outputBytesMax, deadlineMs: until.leftMs() },
        {
          ...(options.input !== undefined && { input: options.input }),
          onOutput(channel, text) {
            clearTimeout(timer);
            onOutput?.(channel, text);
          },
          cancel: silence.signal,
        },
      ).then((end) => {
        clearTimeout(timer);
        if (end.deadlinePassed) line.connection.abandon(on.controlPath);
        return finished(end);
      });
    };
    if (options.repeatable === undefined) return once(opened, options.onOutput);
    return repeatable(options, options.repeatable.firstOutputMs, opened, once, async () => {
      log(`ssh: the connection to ${alias} is not trusted any more; asking over a fresh one`);
      line.connection.retire(opened.controlPath);
      const fresh = await within(until.leftMs(), line.connection.open());
      return fresh?.kind === "open" ? fresh : null;
    });
  }

  async function close(): Promise<void> {
    await Promise.all([...lines.values()].map((line) => line.connection.close()));
    await agent.close();
    await knownHosts.sync();
    folder.remove();
  }

  return {
    problem: agent.problem,
    publicKey: agent.publicKey,
    hostKeys,
    async run(alias, words, options) {
      const command = words.join(" ");
      const line = lineFor(alias, command);
      if ("kind" in line) return unsent(line);
      const until = new Until(options.deadlineMs);
      const slots = options.urgent ? line.urgentSlots : line.slots;
      const release = await slots.take(until.leftMs());
      if (release === null) return unsent(overloaded(alias));
      try {
        return await runOn(line, alias, command, options, until);
      } finally {
        release();
      }
    },
    async start(alias, words, cancel) {
      const command = words.join(" ");
      const line = lineFor(alias, command);
      if ("kind" in line) return line;
      const release = await line.slots.take(startWaitMsMax);
      if (release === null) return overloaded(alias);
      const opened = await line.connection.open();
      if (opened.kind === "not_sent" || cancel?.aborted) {
        release();
        return opened.kind === "not_sent"
          ? opened
          : notSent("cancelled", "It was called off before it was sent.");
      }
      const running = start({ ...sshCommand(alias, opened.controlPath, command), stdin: "pipe" });
      const exit = running.exit.then(sshExit);
      let ended = false;
      void exit.then(() => {
        ended = true;
        release();
      });
      return {
        kind: "started",
        stdin: running.stdin!,
        stdout: running.stdout,
        stderr: running.stderr,
        exit,
        kill() {
          if (ended) return;
          line.connection.abandon(opened.controlPath);
          running.abandon();
        },
      };
    },
    close: () => (closed ??= close()),
  };
}

type Open = Extract<Opened, { kind: "open" }>;

/**
 * First on the warm connection; once more on a fresh one when that one is silent or gone. Whose output came first is the
 * answer, for as long as it takes: the other is left to its own end, at the latest that of its connection.
 */
async function repeatable(
  options: SshRunOptions,
  firstOutputMs: number | null,
  warm: Open,
  once: (on: Open, onOutput: SshRunOptions["onOutput"]) => Promise<SshFinished>,
  freshConnection: () => Promise<Open | null>,
): Promise<SshFinished> {
  const heard = Promise.withResolvers<true>();
  let speaker: Open | null = null;
  const attempt = (on: Open) =>
    once(on, (channel, text) => {
      heard.resolve(true);
      // What ssh itself complains of a broken line goes to stderr, and speaks for nobody.
      if (channel === "stdout") speaker ??= on;
      if (speaker === null || speaker === on) options.onOutput?.(channel, text);
    });
  const first = attempt(warm);
  const answered = Promise.race([first, heard.promise]);
  const inTime = firstOutputMs === null || (await within(firstOutputMs, answered)) !== null;
  const opening = inTime ? null : freshConnection();
  const fresh = opening && (await Promise.race([opening, answered.then(() => null)]));
  if (fresh === null) {
    const end = await first;
    const again = lineLost(end) ? await (opening ?? freshConnection()) : null;
    return again === null ? end : attempt(again);
  }
  const second = attempt(fresh);
  const answer = async (own: Open, one: typeof first, other: typeof first) => {
    const end = await one;
    return speaker === own || (speaker === null && !lineLost(end)) ? end : other;
  };
  return Promise.race([answer(warm, first, second), answer(fresh, second, first)]);
}

/** 255 may be the remote command's own; together with silence it is taken for a lost line, where repeating is harmless. */
function lineLost({ exit, stdout }: SshFinished): boolean {
  return exit.kind === "exited" && exit.code === 255 && stdout === "";
}

function unsent(exit: NotSent, deadlinePassed = false): SshFinished {
  return { exit, stdout: "", stderr: "", droppedBytes: 0, deadlinePassed };
}

function finished(end: Finished): SshFinished {
  return { ...end, exit: sshExit(end.exit) };
}

function sshExit(exit: Exit): SshExit {
  if (exit.kind !== "not_started") return exit;
  return {
    kind: "not_sent",
    cause: "unusable",
    reason: `${notStarted(exit.error)} Nothing was sent.`,
  };
}

/** A deadline shared by the steps of one call. */
class Until {
  readonly #at: number | null;

  constructor(ms: number | null) {
    this.#at = ms === null ? null : performance.now() + ms;
  }

  leftMs(): number | null {
    return this.#at === null ? null : Math.max(1, this.#at - performance.now());
  }
}
