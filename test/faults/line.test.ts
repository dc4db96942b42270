import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { lives } from "../host/host.ts";
import { makeRig, patience } from "./rig.ts";

it(
  "a half-open line in the middle of a cycle: its end is known, over another line",
  { timeout: 120_000 },
  async () => {
    const rig = await makeRig();
    const { host } = rig;
    const id = await rig.held("cycle", "stop");
    rig.relay.goDeaf();
    await host.openGate("stop");
    // ssh's own keepalives find out: 3 of 5 s.
    const settled = await rig.settled(id);
    expect(settled).toMatchObject({ outcome: { kind: "done" } });
    expect(settled.output).toContain("The line to the hypervisor broke");
    expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
  },
);

it("a half-open line before a cycle: it is asked for over a fresh one, and carried out once", async () => {
  const rig = await makeRig();
  const { host } = rig;
  expect(await rig.ask("POST", "/api/pve/status")).toMatchObject({ body: { exit_code: 0 } });
  rig.relay.goDeaf();
  const id = await rig.operate("cycle");
  expect(await rig.settled(id)).toMatchObject({ outcome: { kind: "done" } });
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
});

it("the hypervisor cannot be reached: nothing was sent, and that is known", async () => {
  const rig = await makeRig();
  rig.relay.refuse();
  rig.relay.cut();
  const settled = await rig.settled(await rig.operate("cycle"));
  expect(settled.outcome).toMatchObject({
    kind: "refused",
    reason: expect.stringContaining("Nothing was sent"),
  });
});

it("the same key sent twice, at once and later, acts once", async () => {
  const rig = await makeRig();
  const { host } = rig;
  const id = randomUUID();
  await Promise.all([rig.operate("cycle", id), rig.operate("cycle", id), rig.operate("cycle", id)]);
  await rig.settled(id);
  await rig.operate("cycle", id);
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
});

it("the store is lost between two sendings of one key: the host knows the Job, and acts once", async () => {
  const rig = await makeRig();
  const { host } = rig;
  const id = randomUUID();
  await rig.operate("cycle", id);
  const first = await rig.settled(id);
  await rig.killServer();
  rig.loseStore();
  await rig.startServer();
  await rig.operate("cycle", id);
  const again = await rig.settled(id);
  expect(again).toMatchObject({
    outcome: { kind: "done" },
    output: first.output,
    forensics: first.forensics,
  });
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
});

it("two cycles from two clients of one server: one acts, the other is told who holds the machine", async () => {
  const rig = await makeRig();
  const { host } = rig;
  const id = await rig.held("cycle", "stop");
  const other = await rig.ask("POST", "/api/targets/devvm/operations", { verb: "cycle", key: randomUUID() });
  expect(other).toMatchObject({ status: 409, body: { detail: expect.stringContaining(id) } });
  await host.openGate("stop");
  await rig.settled(id);
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
});

it("a cycle while another console's runs is busy, and names the Job", async () => {
  const rig = await makeRig();
  const { host } = rig;
  await host.fault("stop", "gate");
  const theirs = randomUUID();
  const other = host.run(`v2 cycle ${theirs}`);
  await host.saw("calls", "stop 102");
  const id = await rig.operate("cycle");
  expect((await rig.settled(id)).outcome).toEqual({ kind: "busy", holder: theirs });
  await host.openGate("stop");
  expect((await other).exit_code).toBe(0);
});

it("progress and evidence are there while the Verb runs", async () => {
  const rig = await makeRig();
  const { host } = rig;
  await host.fault("stop", "gate");
  const id = await rig.operate("cycle");
  await expect.poll(async () => (await rig.operation(id)).output, patience).toContain("Stopping VM 102");
  const { forensics, settled_at } = await rig.operation(id);
  expect(settled_at).toBe(undefined);
  expect(forensics?.probes.find(({ probe }) => probe === "qm-config")).toMatchObject({
    end: "answered",
    output: expect.stringContaining("name: devvm"),
  });
  await host.openGate("stop");
  await rig.settled(id);
});

it("a machine that cannot be started again is OFF, and nothing says otherwise", async () => {
  const rig = await makeRig();
  await rig.host.fault("start", "fail no space left on device");
  const settled = await rig.settled(await rig.operate("cycle"));
  expect(settled).toMatchObject({
    exit_code: 6,
    outcome: { kind: "failed", code: 6, reason: expect.stringMatching(/OFF.*no space left on device/) },
  });
  expect(lives(rig.host.pid())).toBe(false);
});

it("a hundred status calls at once over a real line all answer", async () => {
  const rig = await makeRig();
  const answers = await Promise.all(Array.from({ length: 100 }, () => rig.ask("POST", "/api/pve/status")));
  expect(
    answers.every(
      ({ status, body }) => status === 200 && String(body["stdout"]).startsWith("status: running\n"),
    ),
  ).toBe(true);
});
