import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/server/clock.ts";
import { createFreeze, type Freeze } from "../../src/server/broker/freeze.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import type { Store } from "../../src/server/store/store.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { MemoryStore, newKey, saw } from "../power/stage.ts";
import { brokerStage, shim, startShim, type BrokerStage } from "./stage.ts";

async function opened(options: Parameters<typeof brokerStage>[0] = {}): Promise<BrokerStage> {
  const stage = await brokerStage(options);
  onTestFinished(() => stage.close());
  return stage;
}

const over = (memory: MemoryStore): Partial<Store> => ({
  append: (...asked) => memory.append(...asked),
  head: (...asked) => memory.head(...asked),
  read: (...asked) => memory.read(...asked),
});

function freezeOn(store: MemoryStore, clock = systemClock): Freeze {
  return createFreeze({ store: store as Partial<Store> as Store, clock, log: () => {} });
}

test("a freeze outlives the process, with who froze first and since when, until it is lifted", async () => {
  const directory = mkdtempSync(join(tmpdir(), "bg-freeze-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const inNewProcess = async (act: (freeze: Freeze) => Promise<void>) => {
    const store = await openFiles({ directory, report: () => {} });
    const freeze = createFreeze({ store, clock: systemClock, log: () => {} });
    await freeze.load();
    await act(freeze);
    await store.close();
  };
  let at = "";
  await inNewProcess(async (freeze) => {
    expect(freeze.now()).toBeNull();
    expect(await freeze.set(true, "ana")).toEqual({ durable: true });
    ({ at } = freeze.now()!);
    expect(await freeze.set(true, "bob")).toEqual({ durable: true });
    expect(freeze.now()).toEqual({ by: "ana", at });
  });
  await inNewProcess(async (freeze) => {
    expect(freeze.now()).toEqual({ by: "ana", at });
    await freeze.set(false, "bob");
    expect(freeze.now()).toBeNull();
  });
  await inNewProcess(async (freeze) => expect(freeze.now()).toBeNull());
});

test("a freeze holds at once though the disk refuses or hangs, and says that it may be forgotten", async () => {
  const store = new MemoryStore();
  const clock = handClock();
  const freeze = freezeOn(store, clock);
  let told = 0;
  freeze.watch(() => told++);
  store.fault = "refuse";
  expect(await freeze.set(true, "ana")).toEqual({ durable: false });
  store.fault = "hang";
  const lifted = freeze.set(false, "ana");
  expect(freeze.now()).toBeNull();
  expect(told).toBe(2);
  clock.advance(2_000);
  expect(await lifted).toEqual({ durable: false });
});

test("damage before the newest record is passed over; damage of the newest leaves it unknown", async () => {
  const store = new MemoryStore();
  await freezeOn(store).set(true, "ana");
  await freezeOn(store).set(true, "bob");
  store.damaged.set("freeze", new Set([0]));
  const freeze = freezeOn(store);
  await freeze.load();
  expect(freeze.now()).toMatchObject({ by: "bob" });
  store.damaged.set("freeze", new Set([1]));
  await expect(freezeOn(store).load()).rejects.toThrow("damaged");
});

test("while it is not known whether all is frozen nothing runs; an operator's word settles it", async () => {
  const store = new MemoryStore();
  const stage = await opened({ store: () => over(store) });
  store.readFault = "refuse";
  expect(await shim(stage.door, ["devvm", "echo ran"])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("could not be read"),
  });
  await stage.broker.freeze.set(false, "ana");
  expect(await shim(stage.door, ["devvm", "echo ran"])).toMatchObject({ code: 0 });
});

test("a record that hangs keeps nobody waiting for ever", async () => {
  const store = new MemoryStore();
  const clock = handClock();
  const stage = await opened({ store: () => over(store), clock });
  store.readFault = "hang";
  const reading = new Promise<void>((resolve) => {
    const read = store.read.bind(store);
    store.read = (...args) => {
      resolve();
      return read(...args);
    };
  });
  const ran = shim(stage.door, ["devvm", "echo ran"]);
  await reading;
  clock.advance(10_000);
  expect(await ran).toMatchObject({ code: 255, stderr: expect.stringContaining("could not be read") });
});

test("a freeze that a restart brings back refuses the first request", async () => {
  const store = new MemoryStore();
  await freezeOn(store).set(true, "ana");
  const stage = await opened({ store: () => over(store) });
  stage.mode = "autonomous";
  for (const args of [
    ["devvm", "true"],
    ["pve", "status"],
    ["pve", "cycle"],
  ])
    expect(await shim(stage.door, args)).toMatchObject({
      code: 255,
      stderr: expect.stringMatching(/ana has frozen Breakglass .*Nothing was run/),
    });
  expect(stage.hypervisor.calls).toEqual([]);
});

test("a freeze ends what agents run on guests, voids what waits, and lets verbs go on", async () => {
  const stage = await opened();
  const mark = join(stage.dir, "mark");
  const child = startShim(stage.door, "ssh", [
    "devvm",
    `echo started; while [ -e ${stage.dir} ]; do sleep 0.1; done`,
  ]);
  const code = new Promise((resolve) => child.once("close", resolve));
  child.stderr!.resume();
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  const waits = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  await stage.asked();
  const cycle = shim(stage.door, ["pve", "cycle"]);
  await stage.decide(await stage.asked(), "approve");
  const call = await stage.hypervisor.next();

  await stage.broker.freeze.set(true, "ana");
  expect(stage.broker.approvals.pending()).toEqual([]);
  expect(await code).toBe(255);
  expect(await waits).toMatchObject({ code: 255, stderr: expect.stringContaining("ana froze Breakglass.") });
  call.answer({ stdout: saw("running") });
  expect((await cycle).code).toBe(0);
  const operators = stage.power.runAndWait("devvm", "stop", "ana");
  (await stage.hypervisor.next()).answer({ stdout: saw("stopped") });
  expect(await operators).toMatchObject({ exit_code: 0 });
  expect((await shim(stage.door, ["devvm", "true"])).code).toBe(255);
  expect(existsSync(mark)).toBe(false);

  await stage.broker.freeze.set(false, "ana");
  expect((await shim(stage.door, ["devvm", "true"])).code).toBe(0);
});

test("a freeze is every session's", async () => {
  const stage = await opened();
  const other = await stage.broker.open({ id: newKey(), mode: () => "autonomous", record: async () => {} });
  other.beginTurn();
  await stage.broker.freeze.set(true, "ana");
  expect((await shim(other, ["devvm", "true"])).code).toBe(255);
});

test("a runbook's step needs no agent's turn, ends with its own, and is not run while all is frozen", async () => {
  const stage = await opened();
  await stage.door.endTurn();
  const ask = (command: string) =>
    stage.door.runFixed({
      target: "devvm",
      on: "guest",
      command,
      timeoutMs: 60_000,
      by: "ana",
      signal: new AbortController().signal,
    });
  expect(await ask("echo ran")).toMatchObject({ end: { kind: "exited", code: 0 }, output: "ran\n" });
  const long = ask("echo started; exec sleep 600");
  await expect.poll(() => stage.events.length, { timeout: 50_000 }).toBe(3);
  expect(stage.door.busy()).toBe(true);
  await stage.door.endTurn();
  expect(stage.door.busy()).toBe(false);
  expect(stage.events).toHaveLength(4);
  expect((await long).end).toMatchObject({ kind: "unknown" });
  await stage.broker.freeze.set(true, "bob");
  const frozen = await ask("echo ran");
  expect(frozen).toMatchObject({
    end: { kind: "unknown", reason: expect.stringContaining("bob has frozen") },
    output: "",
  });
  expect(stage.events.at(-1)).toMatchObject({ n: frozen.n, end: { kind: "refused" } });
  expect(stage.actors.every((by) => by === "ana")).toBe(true);
});
