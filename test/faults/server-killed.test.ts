import { describe, expect, it } from "vitest";
import type { Verb } from "../../src/protocol/verbs.ts";
import { lives } from "../host/host.ts";
import { makeRig, patience } from "./rig.ts";

/** Where a Verb is held, by the question or order of qm's that it is held in, and what qm was told to do in all. */
const phases: readonly {
  verb: Verb;
  machine: "on" | "off";
  phase: string;
  gate: string;
  calls: readonly string[];
}[] = [
  {
    verb: "cycle",
    machine: "on",
    phase: "gathering evidence",
    gate: "config",
    calls: ["stop 102", "start 102"],
  },
  { verb: "cycle", machine: "on", phase: "stopping", gate: "stop", calls: ["stop 102", "start 102"] },
  { verb: "cycle", machine: "on", phase: "starting", gate: "start", calls: ["stop 102", "start 102"] },
  { verb: "stop", machine: "on", phase: "gathering evidence", gate: "config", calls: ["stop 102"] },
  { verb: "stop", machine: "on", phase: "stopping", gate: "stop", calls: ["stop 102"] },
  { verb: "start", machine: "off", phase: "gathering evidence", gate: "config", calls: ["start 102"] },
  { verb: "start", machine: "off", phase: "starting", gate: "start", calls: ["start 102"] },
  { verb: "reset", machine: "on", phase: "gathering evidence", gate: "config", calls: ["reset 102"] },
  { verb: "reset", machine: "on", phase: "resetting", gate: "reset", calls: ["reset 102"] },
];

describe.each(phases)("$verb, $phase", ({ verb, machine, gate, calls }) => {
  const endsOn = verb !== "stop";
  /** A Reset is a cure only when the guest is seen to boot, and this machine has none. */
  const outcome = verb === "reset" ? "unknown" : "done";

  it("the server is killed: the Verb is carried out once, and after a restart its end is known", async () => {
    const rig = await makeRig({ machine });
    const { host } = rig;
    const before = host.powerCalls().length;
    const id = await rig.held(verb, gate);
    await rig.killServer();
    await rig.startServer();
    // It is asked about, and holds nothing.
    expect((await rig.targets())[0]).toMatchObject({ current: null, last: { id } });
    // Evidence is waited for 5 s at most: then the Verb goes on, gate or not.
    if (gate !== "config") expect((await rig.operation(id)).outcome).toBe(undefined);
    await host.openGate(gate);
    const settled = await rig.settled(id);
    expect(settled).toMatchObject({
      exit_code: 0,
      outcome: { kind: outcome },
      forensics: { id: expect.any(String) },
    });
    expect(host.powerCalls().slice(before)).toEqual(calls);
    expect(lives(host.pid())).toBe(endsOn);
  });

  it("the line is cut: the Verb is carried out once, and its end is known", async () => {
    const rig = await makeRig({ machine });
    const { host } = rig;
    const before = host.powerCalls().length;
    const id = await rig.held(verb, gate);
    const admit = rig.relay.refuse();
    rig.relay.cut();
    await expect
      .poll(async () => (await rig.operation(id)).output, patience)
      .toContain("The line to the hypervisor broke");
    await host.openGate(gate);
    admit();
    expect(await rig.settled(id)).toMatchObject({ exit_code: 0, outcome: { kind: outcome } });
    expect(host.powerCalls().slice(before)).toEqual(calls);
    expect(lives(host.pid())).toBe(endsOn);
  });
});

it("the server is killed and the Verb ends before it is back: its end is on the host, and is told", async () => {
  const rig = await makeRig();
  const { host } = rig;
  const id = await rig.held("cycle", "stop");
  await rig.killServer();
  await host.openGate("stop");
  await host.saw("log", "ended:0 vmid=102 verb=cycle");
  await rig.startServer();
  const settled = await rig.settled(id);
  expect(settled).toMatchObject({ outcome: { kind: "done", changed: true, state: "running" } });
  expect(settled.output).toContain("Stopping VM 102");
});

it("the server is ended in order in the middle: nothing is settled by that, and the next one knows the end", async () => {
  const rig = await makeRig();
  const { host } = rig;
  const id = await rig.held("cycle", "stop");
  expect(await rig.endServer()).toBe(0);
  await rig.startServer();
  expect((await rig.operation(id)).outcome).toBe(undefined);
  await host.openGate("stop");
  expect(await rig.settled(id)).toMatchObject({ outcome: { kind: "done", state: "running" } });
});

it("the phone is gone in the middle: the Verb goes on", async () => {
  const rig = await makeRig();
  const { host } = rig;
  await host.fault("stop", "gate");
  const phone = new AbortController();
  const waiting = rig.ask("POST", "/api/pve/cycle", undefined, phone.signal);
  await host.saw("calls", "stop 102");
  phone.abort();
  await expect(waiting).rejects.toThrow();
  const id = (await rig.targets())[0]!.current!.id as Parameters<typeof rig.settled>[0];
  await host.openGate("stop");
  expect(await rig.settled(id)).toMatchObject({ outcome: { kind: "done" } });
  expect(lives(host.pid())).toBe(true);
});
