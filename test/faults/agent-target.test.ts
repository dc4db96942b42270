import { expect, it, vi } from "vitest";
import type { ConsoleFacts } from "../../src/protocol/api.ts";
import { makeAgentRig } from "./agent-rig.ts";
import { patience } from "./rig.ts";

vi.setConfig({ testTimeout: 120_000 });

it("the guest dies under a command: its end is unknown, the agent is told, and the session goes on", async () => {
  const rig = await makeAgentRig();
  const session = await rig.session("autonomous");
  const [begun, never] = [rig.mark("begun"), rig.mark("never")];
  await session.prompt(`run\nssh devvm 'touch ${begun.path}; ${never.awaited}'`);
  await begun.left();
  rig.endGuest();
  await session.ended();
  rig.touch(never.path);
  expect(session.of("exec").at(-1)).toMatchObject({ phase: "settled", end: { kind: "unknown" } });
  expect(session.told()).toMatch(/Exit code 255[\s\S]*(?:lost|may)/);
  expect(session.of("turn_end")).toMatchObject([{ reason: "done" }]);
  await session.prompt("run\nssh pve status");
  await session.ended(2);
  expect(session.told()).toContain("status: running");
});

it("two sessions on one target: each request is decided by itself, and of two cycles one acts", async () => {
  const rig = await makeAgentRig();
  const sessions = [await rig.session(), await rig.session()] as const;
  const marks = [rig.mark("one"), rig.mark("other")] as const;
  for (const [n, session] of sessions.entries())
    await session.prompt(`run\nssh root@devvm 'touch ${marks[n]!.path}'\nssh pve cycle`);
  const pending = await rig.waiting(2);
  const [one, other] = sessions.map(({ id }) => pending.find(({ session_id }) => session_id === id)!);
  // Neither answers for the other, whichever way they are mixed up.
  expect(await rig.decide({ ...one!, session_id: other!.session_id }, "approve")).toMatchObject({
    status: 404,
  });
  expect(await rig.decide({ ...one!, sha256: other!.sha256 }, "approve")).toMatchObject({ status: 409 });
  expect(await rig.decide(other!, "approve")).toMatchObject({ status: 200, decision: "approved" });
  await marks[1].left();
  expect(marks[0].exists()).toBe(false);
  expect(await rig.decide(one!, "deny")).toMatchObject({ status: 200, decision: "denied" });

  await rig.host.fault("stop", "gate");
  const cycles = await rig.waiting(2);
  expect(cycles.map(({ command }) => command)).toEqual(["cycle", "cycle"]);
  expect(await rig.decide(cycles[0]!, "approve")).toMatchObject({ status: 200 });
  await rig.host.saw("calls", "stop 102");
  // Approved as well, and not sent: the machine is not as it was when that was asked.
  expect(await rig.decide(cycles[1]!, "approve")).toMatchObject({ status: 200 });
  const late = sessions.find(({ id }) => id === cycles[1]!.session_id)!;
  await late.ended();
  await rig.host.openGate("stop");
  await Promise.all(sessions.map((session) => session.ended()));
  expect(late.told()).toMatch(/busy|not sent/);
  expect(rig.host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
});

it("the model is gone: it is said, and a runbook answers instead, by the same broker and without it", async () => {
  const rig = await makeAgentRig();
  const session = await rig.session();
  await rig.model.close();
  await session.prompt("what is wrong?");
  await session.ended();
  expect(session.of("turn_end")).toMatchObject([{ reason: "failed" }]);
  const facts = async () => (await rig.ask("GET", "/api/console")).body as unknown as ConsoleFacts;
  await expect.poll(async () => (await facts()).now.model.state, patience).toBe("gone");

  const { presets } = await facts();
  for (const [n, { runbook }] of presets.entries()) {
    expect(await rig.ask("POST", `/api/session/${session.id}/runbook`, { name: runbook })).toMatchObject({
      status: 200,
    });
    await session.ended(n + 2);
    const settled = session.of("runbook").at(-1);
    expect(settled).toMatchObject({ phase: "settled", name: runbook, summary: expect.stringMatching(/\w/) });
  }
  expect(session.of("approval")).toEqual([]);
  expect(new Set(session.of("exec").map(({ by }) => by))).toEqual(new Set(["api"]));
  expect(rig.host.powerCalls()).toEqual(["start 102"]);
});
