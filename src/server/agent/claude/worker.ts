import { EventEmitter } from "node:events";
import type { Options, Query, SDKUserMessage, SpawnedProcess } from "@anthropic-ai/claude-agent-sdk";
import type { TurnId } from "../../../protocol/ids.ts";
import type { Cage, End } from "../runner/runner.ts";
import { inbox } from "./inbox.ts";
import { readMessage, type Message } from "./messages.ts";

/** Kept of what the agent writes to stderr, for the message about its end; all of it is read. */
const stderrKeptBytes = 8 * 1024;

/** Answers whether this message ended the Turn. */
type Hear = (message: Message) => Promise<boolean>;
export type Answered =
  { readonly kind: "answered" } | { readonly kind: "died"; readonly exit: End; readonly stderr: string };

/** One process of the agent, from its first prompt to its end. */
export interface Worker {
  /** Sends a prompt under its own id, one at a time, and hands on what comes until `hear` says that it was the end. */
  ask(prompt: TurnId, blocks: readonly string[], hear: Hear): Promise<Answered>;
  /** Asks it to stop what it does; its answer is a result. Rejects when it is gone. */
  interrupt(): Promise<void>;
  /** What its conversation has cost before now, in USD, earlier processes included; undefined: it does not say. */
  spentUsd(): Promise<number | undefined>;
  /** Lets it save its memory and exit; resolves when it has. */
  finish(): Promise<void>;
  readonly cage: Cage;
  alive(): boolean;
}

type RunQuery = (request: { prompt: AsyncIterable<SDKUserMessage>; options: Options }) => Query;

/** Starts the process. `start` is called once, with the arguments and the environment that the SDK wants it to have. */
export function startWorker(
  query: RunQuery,
  options: Options,
  start: (args: readonly string[], env: Readonly<Record<string, string>>) => Cage,
): Worker {
  const prompts = inbox<SDKUserMessage>();
  let started: { readonly cage: Cage; readonly stderr: () => string } | undefined;
  let listener: { readonly prompt: string; readonly hear: Hear; readonly settle: Settle } | undefined;
  let ended: Answered | undefined;

  const conversation = query({
    prompt: prompts,
    options: {
      ...options,
      spawnClaudeCodeProcess(asked) {
        // The SDK names the executable first; which one it is inside the cage is the runner's business.
        const cage = start(asked.args, named(asked.env));
        started = { cage, stderr: keepTail(cage) };
        return asSdkProcess(cage);
      },
    },
  });
  // The SDK starts the process within the call of query().
  if (started === undefined) throw new Error("The SDK did not start the agent's process.");
  const { cage, stderr } = started;
  const read = readAll();

  async function readAll(): Promise<void> {
    try {
      for await (const raw of conversation) await hand(readMessage(raw));
    } catch {
      // How the process ended is told by its exit and its stderr; the SDK's exception says no more.
    }
    await cage.kill();
    ended = { kind: "died", exit: await cage.running.exit, stderr: stderr() };
    listener?.settle.resolve(ended);
  }

  async function hand(message: Message): Promise<void> {
    if (listener === undefined) return;
    const { prompt, hear, settle } = listener;
    // A second answer to an earlier prompt is nobody's.
    if (message.type === "result" && message.prompts.length > 0 && !message.prompts.includes(prompt)) return;
    try {
      if (!(await hear(message))) return;
      listener = undefined;
      settle.resolve({ kind: "answered" });
    } catch (error) {
      listener = undefined;
      settle.reject(error);
    }
  }

  return {
    cage,
    alive: () => ended === undefined,
    ask(prompt, blocks, hear) {
      if (ended !== undefined) return Promise.resolve(ended);
      return new Promise<Answered>((resolve, reject) => {
        listener = { prompt, hear, settle: { resolve, reject } };
        const content = blocks.map((text) => ({ type: "text" as const, text }));
        prompts.put({
          type: "user",
          uuid: prompt,
          parent_tool_use_id: null,
          message: { role: "user", content },
        });
      });
    },
    interrupt: async () => void (await conversation.interrupt()),
    async spentUsd() {
      try {
        // Of no use but for a figure, so that a change in a later version of the agent costs only that.
        const ask = conversation.usage_EXPERIMENTAL_MAY_CHANGE_DO_NOT_RELY_ON_THIS_API_YET;
        const { session } = await ask.call(conversation, { skipBehaviors: true });
        return session.total_cost_usd;
      } catch {
        return undefined;
      }
    },
    async finish() {
      prompts.end();
      await read;
    },
  };
}

interface Settle {
  resolve(answered: Answered): void;
  reject(error: unknown): void;
}

/** All of stderr is read, or the agent would hang on a full pipe; only the end is kept. */
function keepTail(cage: Cage): () => string {
  let tail = Buffer.alloc(0);
  cage.running.stderr.on("data", (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-stderrKeptBytes);
  });
  return () => tail.toString("utf8");
}

/** The SDK's view of the process. Whatever signal it wants to send, the whole cage ends: half of it is no agent. */
function asSdkProcess(cage: Cage): SpawnedProcess {
  const { stdin, stdout, exit } = cage.running;
  const life = new EventEmitter();
  let killed = false;
  let ended: End | undefined;
  void exit.then((end) => {
    ended = end;
    // A process that never started has no exit of its own.
    if (end.kind === "not_started") return life.listenerCount("error") > 0 && life.emit("error", end.error);
    return life.emit("exit", exitCode(end), exitSignal(end));
  });
  const view = {
    stdin,
    stdout,
    get killed() {
      return killed;
    },
    get exitCode() {
      return exitCode(ended);
    },
    get signalCode() {
      return exitSignal(ended);
    },
    kill() {
      killed = true;
      void cage.kill();
      return true;
    },
    on: (event: string, listener: Parameters<typeof life.on>[1]) => void life.on(event, listener),
    once: (event: string, listener: Parameters<typeof life.on>[1]) => void life.once(event, listener),
    off: (event: string, listener: Parameters<typeof life.on>[1]) => void life.off(event, listener),
  };
  return view;
}

const exitCode = (end: End | undefined) => (end?.kind === "exited" ? end.code : null);
/** Of what is lost nothing is known but that it is gone. */
const exitSignal = (end: End | undefined) =>
  end?.kind === "signalled" ? end.signal : end?.kind === "lost" ? "SIGKILL" : null;

/** Without what is undefined. */
const named = (env: Readonly<Record<string, string | undefined>>) =>
  Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
