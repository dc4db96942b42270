import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { onTestFinished } from "vitest";
import type {
  AgentEvent,
  AgentNews,
  BrokerDoor,
  TurnEnd,
  TurnRequest,
} from "../../src/server/agent/agent.ts";
import {
  claudeAgent,
  type ClaudeAgent,
  type ClaudeAgentOptions,
} from "../../src/server/agent/claude/agent.ts";
import { openRunner } from "../../src/server/agent/runner/runner.ts";
import type { IsolationChoice } from "../../src/server/config/config.ts";
import { systemClock } from "../../src/server/clock.ts";
import type { SessionId, TurnId } from "../../src/protocol/ids.ts";
import { startModel, type Model } from "../../demo/model/server.ts";
import type { Asked, Script } from "../../demo/model/script.ts";

/** A real agent, a scripted model, and a door that leads nowhere. Everything is in one folder that `close` removes. */
export interface Stage {
  readonly root: string;
  readonly sessionsDir: string;
  readonly door: BrokerDoor;
  readonly model: Model;
  readonly asked: Asked[];
  /** Bodies of the requests to the model, as text. */
  readonly bodies: string[];
  readonly agent: ClaudeAgent;
  /** Another agent on the same folder, as after a restart of the server. */
  another(changed?: Partial<ClaudeAgentOptions>): ClaudeAgent;
  play(prompt: string, how?: Play): Promise<Played>;
  close(): Promise<void>;
}

interface Play {
  readonly agent?: ClaudeAgent;
  readonly session?: SessionId;
  readonly resume?: string;
  readonly turn?: TurnId;
  readonly after?: TurnRequest["after"];
  readonly digest?: string;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: AgentEvent) => void | Promise<void>;
  readonly onNews?: (news: AgentNews) => void;
}

export interface Played {
  readonly end: TurnEnd;
  readonly events: AgentEvent[];
  readonly news: AgentNews[];
}

export interface StageOptions extends Omit<Partial<ClaudeAgentOptions>, "isolation"> {
  /** A word stands for the choice of this kind. */
  readonly isolation?: IsolationChoice | "auto" | "bubblewrap" | "none";
  readonly script: Script;
  readonly busy?: () => boolean;
  readonly waiting?: () => boolean;
}

export async function openStage({
  script,
  busy,
  waiting,
  isolation = isolations[0]!,
  ...changed
}: StageOptions): Promise<Stage> {
  const root = mkdtempSync(join(tmpdir(), "bg-agent-"));
  const asked: Asked[] = [];
  const bodies: string[] = [];
  const model = await startModel({
    script,
    onRequest: (request, body) => {
      asked.push(request);
      bodies.push(JSON.stringify(body));
    },
  });
  const door = await dummyDoor(root, { busy: busy ?? (() => false), waiting: waiting ?? (() => false) });
  const options: ClaudeAgentOptions = {
    clock: systemClock,
    sessionsDir: join(root, "sessions"),
    isolation: typeof isolation === "string" ? { kind: isolation } : isolation,
    instructions: "You are a test.",
    endpoint: () => ({ env: { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: "dummy" } }),
    agentsWarmMax: 4,
    idleMs: 600_000,
    apiTimeoutMs: 60_000,
    silenceMs: 60_000,
    turnTimeoutMs: 120_000,
    modelCallsMax: 100,
    outputCharsMax: 16 * 1024 * 1024,
    ...changed,
  };
  const agents: ClaudeAgent[] = [];
  const another = (more: Partial<ClaudeAgentOptions> = {}) => {
    const agent = claudeAgent({ ...options, ...more });
    agents.push(agent);
    return agent;
  };
  const agent = another();
  const session = randomUUID();
  return {
    root,
    sessionsDir: options.sessionsDir,
    door,
    model,
    asked,
    bodies,
    agent,
    another,
    async play(prompt, how = {}) {
      const events: AgentEvent[] = [];
      const news: AgentNews[] = [];
      const end = await (how.agent ?? agent).turn({
        session: how.session ?? session,
        turn: how.turn ?? randomUUID(),
        after: how.after,
        prompt,
        model: undefined,
        resume: how.resume,
        digest: async () => how.digest ?? "",
        door,
        signal: how.signal ?? new AbortController().signal,
        report: async (event) => {
          events.push(event);
          await how.onEvent?.(event);
        },
        show: (one) => {
          news.push(one);
          how.onNews?.(one);
        },
      });
      return { end, events, news };
    },
    async close() {
      await Promise.all(agents.map((one) => one.close()));
      await model.close();
      door.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** A socket that accepts and says nothing, and an `ssh` that repeats its arguments. */
async function dummyDoor(
  root: string,
  says: Pick<BrokerDoor, "busy" | "waiting">,
): Promise<BrokerDoor & { close(): void }> {
  const binDir = join(root, "bin");
  mkdirSync(binDir);
  writeFileSync(join(binDir, "ssh"), '#!/bin/sh\necho "ssh got: $*"\n', { mode: 0o755 });
  const socketPath = join(root, "broker.sock");
  const server = createServer((socket) => socket.end("hello from the broker\n"));
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return { socketPath, token: "token-of-this-session", binDir, ...says, close: () => void server.close() };
}

/** A stage that goes with the test. */
export async function stageWith(options: StageOptions): Promise<Stage> {
  const stage = await openStage(options);
  onTestFinished(() => stage.close());
  return stage;
}

export const errors = ({ events }: Played) =>
  events.flatMap((event) => (event.kind === "error" ? [event.error] : []));
export const texts = ({ events }: Played) =>
  events.flatMap((event) => (event.kind === "text" ? [event.text] : []));
/** What the model was last given. */
export const shown = (stage: Stage) => stage.bodies.at(-1) ?? "";

/** What can be tried on this machine. In CI a missing bubblewrap is a failure, elsewhere a test less. */
export const isolations: ("bubblewrap" | "none")[] = await (async () => {
  const runner = openRunner({ isolation: { kind: "bubblewrap" }, sessionsDir: tmpdir(), readable: [] });
  return (await runner.problem()) === null || process.env["CI"] === "true"
    ? ["bubblewrap", "none"]
    : ["none"];
})();

/** The model asks for these commands one after the other, then says the last result. */
export function commands(...list: readonly string[]): Script {
  return ({ step, toolResult }) =>
    step < list.length
      ? { kind: "blocks", blocks: [bash(list[step]!)] }
      : { kind: "blocks", blocks: [{ type: "text", text: `Done: ${toolResult?.text ?? ""}` }] };
}

export const bash = (command: string) => ({ type: "tool_use", name: "Bash", input: { command } }) as const;

export const say = (text: string) => ({ kind: "blocks", blocks: [{ type: "text", text }] }) as const;

/** What it is called in the list of this machine's processes: a sleep of its own length. */
export function markedSleep(): { readonly seconds: string; living(): boolean } {
  const seconds = `${100_000 + Math.floor(Math.random() * 1e9)}`;
  return { seconds, living: () => pidsOf(["sleep", seconds]).length > 0 };
}

/** Processes of this machine with exactly this command line, zombies excepted. */
function pidsOf(args: readonly string[]): number[] {
  const wanted = `${args.join("\0")}\0`;
  return allPids().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8") === wanted;
    } catch {
      return false;
    }
  });
}

/** Agents of this stage: their environment names its folder or their cage is bound to it. */
export function agentPids(stage: Stage): number[] {
  return allPids().filter((pid) => {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const env = readFileSync(`/proc/${pid}/environ`, "utf8");
      return (
        args.includes("stream-json") &&
        env.includes(`ANTHROPIC_BASE_URL=${stage.model.url}`) &&
        !/bwrap\0/.test(args)
      );
    } catch {
      return false;
    }
  });
}

function allPids(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}
