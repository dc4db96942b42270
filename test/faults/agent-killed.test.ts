import { readdirSync, readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import type { OperationId } from "../../src/protocol/ids.ts";
import { makeAgentRig, type AgentRig, type Watched } from "./agent-rig.ts";

vi.setConfig({ testTimeout: 180_000 });

/** One Session in each phase of a Turn, all at once, so that one death hits every phase. */
async function inEveryPhase(rig: AgentRig, round: string) {
  const [begun, gate, never] = ["begun", "gate", "never"].map((name) => rig.mark(`${name}-${round}`));
  const thinking = await rig.session();
  const running = await rig.session("autonomous");
  const waiting = await rig.session();
  const cycling = await rig.session("autonomous");
  const finishing = await rig.session();

  await rig.host.fault("stop", "gate");
  await thinking.prompt("think");
  await running.prompt(
    `run\nssh devvm 'touch ${begun!.path}; until [ -e ${gate!.path} ]; do sleep 0.1; done'`,
  );
  await waiting.prompt(`run\nssh root@devvm 'touch ${never!.path}'`);
  await cycling.prompt("run\nssh pve cycle");
  await thinking.stream.until(({ frames }) => frames.some(({ event }) => event === "delta"));
  await begun!.left();
  const [pending] = await rig.waiting(1);
  await rig.host.saw("calls", "stop 102");
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
  };
}

type Phases = Awaited<ReturnType<typeof inEveryPhase>>;

const sessionsOf = ({ thinking, running, waiting, cycling, finishing }: Phases) =>
  ({ thinking, running, waiting, cycling, finishing }) as const;

/** Nothing that was waited for may run now; the Verb is carried out, once. */
async function letGo(rig: AgentRig, { gate, never, operation, pending }: Phases, callsBefore: number) {
  await rig.host.openGate("stop");
  expect(await rig.settled(operation as OperationId)).toMatchObject({ outcome: { kind: "done" } });
  expect(rig.host.powerCalls().slice(callsBefore)).toEqual(["stop 102", "start 102"]);
  rig.touch(gate.path);
  expect(await rig.decide(pending, "approve")).toMatchObject({
    status: 409,
    detail: expect.stringMatching(/void|nothing was run/i),
  });
  expect(never.exists()).toBe(false);
}

/** Every Session answers again, and its agent knows what was before: from its own memory, or told by the record. */
async function goOn(rig: AgentRig, { never }: Phases, sessions: Readonly<Record<string, Watched>>) {
  for (const [phase, session] of Object.entries(sessions)) {
    const turns = session.of("turn_end").length;
    await session.prompt(`and now, ${phase}?`);
    await session.ended(turns + 1);
    expect([phase, session.said()]).toEqual([phase, expect.stringContaining(`Heard: and now, ${phase}?`)]);
    expect(session.of("turn_end").at(-1)).toMatchObject({ reason: "done" });
  }
  const asked = rig.heard.findLast(({ prompt }) => prompt.endsWith("and now, waiting?"));
  expect(asked?.body).toContain(never.path);
}

it("the agent is killed, then the server, in every phase of a turn: each session says what is known and unknown, and goes on", async () => {
  const rig = await makeAgentRig();

  // --- the agents ---
  let calls = rig.host.powerCalls().length;
  const first = await inEveryPhase(rig, "agent");
  const { thinking, running, waiting, cycling, finishing } = first;
  for (const pid of agentsOf(rig)) process.kill(pid, "SIGKILL");
  for (const session of [thinking, running, waiting, cycling]) {
    await session.ended();
    expect(session.of("turn_end")).toMatchObject([{ reason: "failed" }]);
    expect(session.of("error")).toHaveLength(1);
  }
  await finishing.ended();
  // Whoever asked is gone, so that what it had running is ended on the guest, and what waited for it is void.
  expect(running.of("exec").at(-1)).toMatchObject({ phase: "settled", end: { kind: "ended" } });
  expect(waiting.of("decision")).toMatchObject([{ decision: "void" }]);
  await letGo(rig, first, calls);
  await cycling.saw((event) => event.kind === "operation" && event.phase === "settled");
  await goOn(rig, first, sessionsOf(first));

  // --- the server ---
  calls = rig.host.powerCalls().length;
  const second = await inEveryPhase(rig, "server");
  const seen = Object.entries(sessionsOf(second)).map(([phase, session]) => ({
    phase,
    session,
    events: session.events(),
  }));
  await rig.killServer();
  await rig.startServer();
  await letGo(rig, second, calls);
  const again: Record<string, Watched> = {};
  for (const { phase, session, events } of seen) {
    const now = (again[phase] = await rig.again(session.id));
    await now.ended();
    // What any client saw is there, once, in its place.
    expect([phase, now.events().slice(0, events.length)]).toEqual([phase, events]);
    expect(now.events().map(({ id }) => id)).toEqual(now.events().map((_, at) => at));
    expect([phase, now.of("turn_end")]).toMatchObject([phase, [{}]]);
  }
  for (const phase of ["thinking", "running", "waiting", "cycling"])
    expect([phase, again[phase]!.of("turn_end")]).toMatchObject([phase, [{ reason: "interrupted" }]]);
  expect(again["running"]!.of("interrupted")).toMatchObject([
    { unknown: [expect.stringContaining(second.gate.path)] },
  ]);
  expect(again["running"]!.of("exec").at(-1)).toMatchObject({ phase: "settled", end: { kind: "unknown" } });
  expect(again["waiting"]!.of("decision")).toMatchObject([{ decision: "void" }]);
  expect(again["waiting"]!.of("interrupted")).toMatchObject([{ unknown: [] }]);
  await again["cycling"]!.saw((event) => event.kind === "operation" && event.phase === "settled");
  await goOn(rig, second, again);
});

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
