import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startModel } from "../demo/model/server.ts";
import type { Script } from "../demo/model/script.ts";
import type { BrokerDoor } from "../src/server/agent/agent.ts";
import { claudeAgent } from "../src/server/agent/claude/agent.ts";
import { systemClock } from "../src/server/clock.ts";
import { median } from "./pinned.ts";
import type { SessionId } from "../src/protocol/ids.ts";

/** Medians, in milliseconds, with the model stand-in. */
export interface AgentFigures {
  readonly isolation: string;
  /** A Turn of one text in a process that is there already: the first aim of section 14. */
  readonly turnWarmMs: number;
  /** The same with one Bash call. */
  readonly toolTurnWarmMs: number;
  /** A Turn of one text with the start of the process. */
  readonly turnFreshMs: number;
  /** From Stop to nothing left, with a command and a detached grandchild running. */
  readonly cancelMs: number;
  /** The model stand-in alone, asked for the same text: what of the above is not ours. */
  readonly modelMs: number;
}

const warmTurns = 30;
const freshTurns = 7;
const cancels = 7;

export async function agentFigures(isolation: "auto" | "none"): Promise<AgentFigures> {
  const root = mkdtempSync(join(tmpdir(), "bg-bench-agent-"));
  const model = await startModel({ script });
  const door = await openDoor(root);
  const agent = claudeAgent({
    clock: systemClock,
    sessionsDir: join(root, "sessions"),
    isolation: { kind: isolation },
    instructions: "You are a benchmark.",
    endpoint: () => ({ env: { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: "dummy" } }),
    agentsWarmMax: 4,
    idleMs: 600_000,
    apiTimeoutMs: 60_000,
    silenceMs: 60_000,
    turnTimeoutMs: 60_000,
    modelCallsMax: 100,
    outputCharsMax: 16 * 1024 * 1024,
  });
  const turn = (session: SessionId, prompt: string, signal: AbortSignal, onTool: () => void = () => {}) =>
    agent.turn({
      session,
      turn: randomUUID(),
      prompt,
      model: undefined,
      resume: undefined,
      digest: async () => "",
      door,
      signal,
      report: async (event) => {
        if (event.kind === "error") throw new Error(event.error);
        if (event.kind === "tool") onTool();
      },
      show: () => {},
    });
  const never = new AbortController().signal;
  try {
    await agent.warm();
    const session = randomUUID();
    await turn(session, "text", never);
    return {
      isolation: agent.isolation().kind,
      turnWarmMs: await medianOf(warmTurns, () => timed(() => turn(session, "text", never))),
      toolTurnWarmMs: await medianOf(warmTurns, () => timed(() => turn(session, "tool", never))),
      turnFreshMs: await medianOf(freshTurns, async () => {
        const fresh = randomUUID();
        const ms = await timed(() => turn(fresh, "text", never));
        await agent.release(fresh);
        return ms;
      }),
      cancelMs: await medianOf(cancels, async () => {
        const stop = new AbortController();
        const running = Promise.withResolvers<void>();
        const ended = turn(randomUUID(), "sleep", stop.signal, () => running.resolve());
        await running.promise;
        // The command itself has begun when the shell has had this long.
        await new Promise((resolve) => setTimeout(resolve, 300));
        return timed(() => {
          stop.abort();
          return ended;
        });
      }),
      modelMs: await medianOf(warmTurns, () =>
        timed(async () => {
          const body = JSON.stringify({
            model: "m",
            stream: true,
            messages: [{ role: "user", content: "text" }],
          });
          await (await fetch(`${model.url}/v1/messages?beta=true`, { method: "POST", body })).text();
        }),
      ),
    };
  } finally {
    await agent.close();
    await model.close();
    door.close();
    rmSync(root, { recursive: true, force: true });
  }
}

const script: Script = ({ prompt, step }) => {
  const command = prompt === "tool" ? "true" : "setsid sleep 1000 >/dev/null 2>&1 & exec sleep 1000";
  return prompt === "text" || step > 0
    ? { kind: "blocks", blocks: [{ type: "text", text: "Up and well." }] }
    : { kind: "blocks", blocks: [{ type: "tool_use", name: "Bash", input: { command } }] };
};

async function openDoor(root: string): Promise<BrokerDoor & { close(): void }> {
  const binDir = join(root, "bin");
  mkdirSync(binDir);
  writeFileSync(join(binDir, "ssh"), "#!/bin/sh\n", { mode: 0o755 });
  const socketPath = join(root, "broker.sock");
  const server = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    socketPath,
    token: "bench",
    binDir,
    busy: () => false,
    waiting: () => false,
    close: () => void server.close(),
  };
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

async function medianOf(count: number, measure: () => Promise<number>): Promise<number> {
  const figures: number[] = [];
  for (let done = 0; done < count; done++) figures.push(await measure());
  return Math.round(median(figures) * 10) / 10;
}
