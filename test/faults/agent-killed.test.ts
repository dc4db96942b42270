import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it, onTestFinished, vi } from "vitest";
import { scratchFolder } from "../doubles/sessions.ts";
import { makeAgentRig, type AgentRig, type Watched } from "./agent-rig.ts";
import { patience } from "./rig.ts";

vi.setConfig({ testTimeout: 300_000 });

/** One Session in each phase of a Turn, all at once, so that one death hits every phase. */
async function inEveryPhase(rig: AgentRig, round: string) {
  const [begun, gate, never] = ["begun", "gate", "never"].map((name) => rig.mark(`${name}-${round}`));
  const thinking = await rig.session();
  const running = await rig.session("autonomous");
  const waiting = await rig.session();
  const cycling = await rig.session("autonomous");
  const finishing = await rig.session();

  // Held anew, though it was let go before.
  rmSync(rig.host.file("go-stop"), { force: true });
  await rig.host.fault("stop", "gate");
  const calls = rig.host.powerCalls().length;
  await thinking.prompt("think");
  await running.prompt(`run\nssh devvm 'touch ${begun!.path}; ${gate!.awaited}'`);
  await waiting.prompt(`run\nssh root@devvm 'touch ${never!.path}'`);
  await cycling.prompt("run\nssh pve cycle");
  await thinking.stream.until(({ frames }) => frames.some(({ event }) => event === "delta"));
  await begun!.left();
  const [pending] = await rig.waiting(1);
  await expect.poll(() => rig.host.powerCalls().length, patience).toBe(calls + 1);
  await finishing.prompt("say a word");
  await finishing.saw(({ kind }) => kind === "text");
  const operation = cycling.of("operation")[0]!.operation;
  return {
    thinking,
    running,
    waiting,
    cycling,
    finishing,
    pending: pending!,
    operation,
    gate: gate!,
    never: never!,
    calls,
  };
}

type Phases = Awaited<ReturnType<typeof inEveryPhase>>;

const sessionsOf = ({ thinking, running, waiting, cycling, finishing }: Phases) =>
  ({ thinking, running, waiting, cycling, finishing }) as const;

/** Nothing that was waited for may run now; the Verb is carried out, once. */
async function letGo(rig: AgentRig, { gate, never, operation, pending, calls }: Phases) {
  await rig.host.openGate("stop");
  expect(await rig.settled(operation)).toMatchObject({ outcome: { kind: "done" } });
  expect(rig.host.powerCalls().slice(calls)).toEqual(["stop 102", "start 102"]);
  rig.touch(gate.path);
  expect(await rig.decide(pending, "approve")).toMatchObject({
    status: 409,
    detail: expect.stringMatching(/void|nothing was run/i),
  });
  expect(never.exists()).toBe(false);
}

/** They answer again, and the agent knows what was before: from its own memory, or told by the record. */
async function goOn(rig: AgentRig, { never }: Phases, sessions: Readonly<Record<string, Watched>>) {
  await Promise.all(
    Object.entries(sessions).map(async ([phase, session]) => {
      const turns = session.of("turn_end").length;
      await session.prompt(`and now, ${phase}?`);
      await session.ended(turns + 1);
      expect([phase, session.said()]).toEqual([phase, expect.stringContaining(`Heard: and now, ${phase}?`)]);
      expect(session.of("turn_end").at(-1)).toMatchObject({ reason: "done" });
    }),
  );
  const asked = rig.heard.findLast(({ prompt }) => prompt.endsWith("and now, waiting?"));
  expect(asked?.body).toContain(never.path);
}

/** With the agents gone and the server alive, everything is settled at once. */
async function agentsGone(rig: AgentRig, phases: Phases) {
  const { thinking, running, waiting, cycling, finishing } = phases;
  for (const session of [thinking, running, waiting, cycling]) {
    await session.ended();
    expect(session.of("turn_end")).toMatchObject([{ reason: "failed" }]);
    expect(session.of("error")).toHaveLength(1);
  }
  await finishing.ended();
  // Whoever asked is gone, so that what it had running is ended on the guest, and what waited for it is void.
  expect(running.of("exec").at(-1)).toMatchObject({ phase: "settled", end: { kind: "ended" } });
  expect(waiting.of("decision")).toMatchObject([{ decision: "void" }]);
  await letGo(rig, phases);
  await cycling.saw((event) => event.kind === "operation" && event.phase === "settled");
  // Of the others test/agent/survive.test.ts knows as much, for the agent alone.
  await goOn(rig, phases, { waiting });
}

/** After the server's own death what had begun is unknown, or known from elsewhere, and what had not is known not to have run. */
async function serverGone(rig: AgentRig, phases: Phases, die: () => Promise<unknown>) {
  const seen = Object.entries(sessionsOf(phases)).map(([phase, { id, events }]) => ({
    phase,
    id,
    events: events(),
  }));
  await die();
  await rig.startServer();
  await letGo(rig, phases);
  const again: Record<string, Watched> = {};
  for (const { phase, id, events } of seen) {
    const now = (again[phase] = await rig.again(id));
    await now.ended();
    // What any client saw is there, once, in its place.
    expect([phase, now.events().slice(0, events.length)]).toEqual([phase, events]);
    expect(now.events().map((event) => event.id)).toEqual(now.events().map((_, at) => at));
    const reason = phase === "finishing" ? expect.stringMatching(/^(?:done|interrupted)$/) : "interrupted";
    expect([phase, now.of("turn_end")]).toMatchObject([phase, [{ reason }]]);
  }
  const { running, waiting, cycling } = again as Record<keyof ReturnType<typeof sessionsOf>, Watched>;
  expect(running.of("interrupted")).toMatchObject([{ unknown: [expect.stringContaining(phases.gate.path)] }]);
  expect(running.of("exec").at(-1)).toMatchObject({ phase: "settled", end: { kind: "unknown" } });
  expect(waiting.of("decision")).toMatchObject([{ decision: "void" }]);
  expect(waiting.of("interrupted")).toMatchObject([{ unknown: [] }]);
  await cycling.saw((event) => event.kind === "operation" && event.phase === "settled");
  await goOn(rig, phases, again);
}

it("the agent is killed, then the server, in every phase of a turn: each session says what is known and unknown, and goes on", async () => {
  const rig = await makeAgentRig();
  const phases = await inEveryPhase(rig, "agent");
  killAgents(rig);
  await agentsGone(rig, phases);
  await serverGone(rig, await inEveryPhase(rig, "server"), rig.killServer);
});

it("the runner is killed, then all of it at once, in every phase of a turn: the same holds", async () => {
  const runner = runnerProgram();
  await runner.start();
  const rig = await makeAgentRig({ env: { BREAKGLASS_ISOLATION: `runner:${runner.socketPath}` } });
  const phases = await inEveryPhase(rig, "runner");
  await runner.kill();
  const gone = expect.poll(() => agentsOf(rig), patience).toEqual([]);
  await runner.start();
  await gone;
  await agentsGone(rig, phases);
  await serverGone(rig, await inEveryPhase(rig, "all"), async () => {
    killAgents(rig);
    await Promise.all([rig.killServer(), runner.kill()]);
    await runner.start();
  });
});

/** `breakglass runner`, as a deployment starts it beside the server. */
function runnerProgram() {
  const dir = scratchFolder();
  const socketPath = join(dir, "runner.sock");
  let child: ChildProcess | null = null;
  const kill = async () => {
    const ended = child?.exitCode === null && child.signalCode === null ? once(child, "exit") : null;
    child?.kill("SIGKILL");
    await ended;
  };
  onTestFinished(kill);
  return {
    socketPath,
    kill,
    async start() {
      const words = [
        "src/cli/main.mjs",
        "runner",
        "--socket",
        socketPath,
        "--sessions",
        join(dir, "sessions"),
      ];
      const started = spawn(process.execPath, words, {
        env: { PATH: process.env["PATH"], HOME: dir },
        stdio: ["ignore", "pipe", "inherit"],
      });
      child = started;
      for await (const line of createInterface({ input: started.stdout }))
        if (line.includes("listens")) break;
    },
  };
}

function killAgents(rig: AgentRig): void {
  for (const pid of agentsOf(rig)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      // A Turn that has just ended takes its agent along.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** The agents themselves, in their cages: every process that was told where this rig's model is and speaks the agent's protocol. */
function agentsOf(rig: AgentRig): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return (
          words.includes("stream-json") &&
          !/bwrap\0/.test(words) &&
          readFileSync(`/proc/${pid}/environ`, "utf8").includes(rig.model.url)
        );
      } catch {
        // It has just ended, or is another's.
        return false;
      }
    });
}
