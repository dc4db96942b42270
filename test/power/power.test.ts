import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import type { OperationNews, Power, Submission, Submitted } from "../../src/server/power/power.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import { ManualClock, MemoryStore, newKey, saw, stage } from "./stage.ts";

const ask = (more: Partial<Submission> = {}): Submission => ({
  target: "devvm",
  verb: "cycle",
  key: newKey(),
  by: "ana",
  ...more,
});

async function accepted(
  power: Power,
  request: Submission,
): Promise<Extract<Submitted, { kind: "accepted" }>> {
  const answer = await power.submit(request);
  if (answer.kind !== "accepted") throw new Error(answer.kind);
  return answer;
}

test("a Verb is on record before it acts, and settled after it", async () => {
  const { power, hypervisor, store } = stage();
  const request = ask();
  const { operation, settled } = await accepted(power, request);
  const stream = `operation/${request.key}`;
  expect(operation).toMatchObject({ id: request.key, verb: "cycle", by: "ana", durable: true });
  expect(store.kinds(stream)).toEqual(["requested"]);
  const call = await hypervisor.next();
  expect(call).toMatchObject({ verb: "cycle", job: request.key });
  expect(power.current("devvm")?.id).toBe(request.key);
  call.say("status: stopped\n");
  call.say("status: running\n");
  call.answer({ stdout: saw("running") });
  const end = await settled;
  expect(end).toMatchObject({ outcome: { kind: "done", state: "running" }, exit_code: 0, durable: true });
  expect(end.output).toBe("status: stopped\nstatus: running\n");
  expect(store.kinds(stream)).toEqual(["requested", "output", "settled"]);
  expect(store.kinds("operations")).toEqual(["requested", "settled"]);
  expect(power.current("devvm")).toBe(null);
  expect(power.last("devvm")?.id).toBe(request.key);
  expect(await power.get(request.key)).toEqual(end);
});

test("exit 0 without the goal seen is unknown", async () => {
  const { power, hypervisor } = stage();
  const { settled } = await accepted(power, ask());
  (await hypervisor.next()).answer({ stdout: saw("stopped") });
  expect((await settled).outcome?.kind).toBe("unknown");
});

test("a repeated key is the same Operation and acts once", async () => {
  const { power, hypervisor } = stage();
  const request = ask();
  const answers = await Promise.all([
    accepted(power, request),
    accepted(power, request),
    accepted(power, request),
  ]);
  (await hypervisor.next()).answer({ stdout: saw("running") });
  const ends = await Promise.all(answers.map(({ settled }) => settled));
  expect(new Set(ends.map(({ id }) => id))).toEqual(new Set([request.key]));
  const later = await accepted(power, request);
  expect(later.operation.outcome?.kind).toBe("done");
  expect(hypervisor.calls).toEqual([]);
});

test("a key used for another Verb or Target is a mismatch", async () => {
  const { power, hypervisor } = stage();
  const request = ask();
  await accepted(power, request);
  expect((await power.submit({ ...request, verb: "stop" })).kind).toBe("mismatch");
  expect((await power.submit({ ...request, target: "lamp" })).kind).toBe("mismatch");
  (await hypervisor.next()).answer({});
  expect(hypervisor.calls).toEqual([]);
});

test("one mutating Operation per Target at a time, whoever asks, and reading goes on meanwhile", async () => {
  const { power, hypervisor } = stage();
  const first = ask();
  const answers = await Promise.all([
    power.submit(first),
    power.submit(ask({ by: "ben", verb: "stop" })),
    power.submit(ask()),
  ]);
  expect(answers.map(({ kind }) => kind)).toEqual(["accepted", "busy", "busy"]);
  expect(answers[1]).toMatchObject({ holder: { id: first.key, by: "ana", verb: "cycle" } });
  const cycle = await hypervisor.next();
  const forensics = await accepted(power, ask({ verb: "forensics" }));
  (await hypervisor.next()).answer({ stdout: "evidence" });
  expect((await forensics.settled).outcome?.kind).toBe("done");
  const status = power.status("devvm");
  (await hypervisor.next()).answer({ stdout: "status: stopped\n" });
  expect(await status).toMatchObject({ exit_code: 0 });
  cycle.answer({ stdout: saw("running") });
});

test("what happened since the Operator looked makes the request stale", async () => {
  const { power, hypervisor } = stage();
  const first = await accepted(power, ask({ after: null }));
  (await hypervisor.next()).answer({ stdout: saw("running") });
  const { id } = await first.settled;
  expect(await power.submit(ask({ after: null }))).toMatchObject({ kind: "stale", latest: { id } });
  expect(await power.submit(ask({ after: newKey() }))).toMatchObject({ kind: "stale", latest: { id } });
  expect((await power.submit(ask({ after: id }))).kind).toBe("accepted");
});

test("an unknown Target and one without a power side are told apart", async () => {
  const { power } = stage();
  expect(await power.submit(ask({ target: "nowhere" }))).toEqual({ kind: "unknown_target" });
  expect(await power.submit(ask({ target: "lamp" }))).toEqual({ kind: "no_power" });
  expect(await power.status("nowhere")).toEqual({ kind: "unknown_target" });
  expect(await power.status("lamp")).toEqual({ kind: "no_power" });
});

test("a hundred status calls at once share one, and none is an Operation", async () => {
  const { power, hypervisor, store } = stage();
  const answers = Array.from({ length: 100 }, () => power.status("devvm"));
  (await hypervisor.next()).answer({ stdout: "status: running\n" });
  expect(new Set(await Promise.all(answers)).size).toBe(1);
  expect(hypervisor.calls).toEqual([]);
  const asked = await accepted(power, ask({ verb: "status" }));
  (await hypervisor.next()).answer({ stdout: "status: running\n" });
  expect((await asked.settled).output).toBe("status: running\n");
  expect(power.history("devvm")).toEqual([]);
  expect(store.streams.size).toBe(0);
});

test("while the store hangs a Verb acts, says so, and is recorded when the store answers again", async () => {
  const { power, hypervisor, store } = stage();
  store.fault = "hang";
  const request = ask();
  const { operation, settled } = await accepted(power, request);
  expect(operation.durable).toBe(false);
  const call = await hypervisor.next();
  call.say("status: running\n");
  call.answer({ stdout: saw("running") });
  expect(await settled).toMatchObject({ outcome: { kind: "done" }, durable: false });
  expect(store.streams.size).toBe(0);
  store.fault = "none";
  await expect
    .poll(() => store.kinds(`operation/${request.key}`))
    .toEqual(["requested", "output", "settled"]);
  await expect.poll(() => store.kinds("operations")).toEqual(["requested", "settled"]);
  expect(store.streams.get("operations")?.[1]).toMatchObject({ durable: false });
});

test("while the store refuses a Verb acts, and what was refused is offered again", async () => {
  const { power, hypervisor, store, logged } = stage();
  store.fault = "refuse";
  const request = ask();
  const { operation, settled } = await accepted(power, request);
  expect(operation.durable).toBe(false);
  (await hypervisor.next()).answer({ stdout: saw("running") });
  expect((await settled).durable).toBe(false);
  expect(logged.join()).toContain("The disk is full.");
  store.fault = "none";
  await expect.poll(() => store.kinds("operations"), { timeout: 20_000 }).toEqual(["requested", "settled"]);
});

test("the time to wait ends the waiting: unknown, the Target is free, and a late answer still becomes known", async () => {
  const clock = new ManualClock();
  const { power, hypervisor, store } = stage({ clock, verbTimeoutMs: 60_000 });
  const { settled, operation } = await accepted(power, ask());
  const call = await hypervisor.next();
  clock.pass(60_000);
  const end = await settled;
  expect(end).toMatchObject({ exit_code: null, outcome: { kind: "unknown" } });
  expect((end.outcome as { reason: string }).reason).toContain("may be running");
  expect(power.current("devvm")).toBe(null);
  const late = new Promise<Operation>((resolve) => power.watch((news) => resolve(news.operation)));
  call.answer({ stdout: saw("running") });
  expect((await late).outcome?.kind).toBe("done");
  expect(power.last("devvm")?.outcome?.kind).toBe("done");
  expect(store.kinds(`operation/${operation.id}`)).toEqual(["requested", "settled", "settled"]);
});

test("a Verb that certainly never left this machine is refused, not unknown", async () => {
  const { power, hypervisor } = stage();
  const { settled } = await accepted(power, ask());
  (await hypervisor.next()).answer({
    exit_code: null,
    sent: false,
    stderr: "Not reached. Nothing was sent.\n",
  });
  expect((await settled).outcome).toEqual({ kind: "refused", reason: "Not reached. Nothing was sent." });
});

test("after a restart what was open is asked about, what settled is history, and old keys act no more", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  const open = ask({ verb: "stop" });
  const done = ask();
  const settledOne = await accepted(before.power, done);
  const call = await before.hypervisor.next();
  call.say("all of it\n");
  call.answer({ stdout: saw("running") });
  await settledOne.settled;
  await accepted(before.power, open);
  await before.hypervisor.next();

  const { power, hypervisor } = stage({ memory });
  await power.recover();
  const asked = await hypervisor.next();
  expect(asked).toMatchObject({ how: "attach", job: open.key });
  asked.answer({ exit_code: null, stderr: "Nobody knows.\n" });
  const [last, first] = power.history("devvm");
  await expect
    .poll(() => power.history("devvm")[0])
    .toMatchObject({ id: open.key, exit_code: null, outcome: { kind: "unknown", reason: "Nobody knows." } });
  expect(last?.id).toBe(open.key);
  expect(first).toMatchObject({ id: done.key, outcome: { kind: "done" } });
  expect(await power.get(done.key)).toMatchObject({ output: "all of it\n", outcome: { kind: "done" } });
  expect((await accepted(power, open)).operation.outcome?.kind).toBe("unknown");
  expect((await power.submit({ ...done, verb: "stop" })).kind).toBe("mismatch");
  expect(hypervisor.calls).toEqual([]);
  await expect.poll(() => memory.kinds(`operation/${open.key}`)).toEqual(["requested", "settled"]);
  // Settled once is settled for good.
  const again = stage({ memory });
  await again.power.recover();
  expect(again.hypervisor.calls).toEqual([]);
  expect(memory.kinds(`operation/${open.key}`)).toEqual(["requested", "settled"]);
});

test("a key that only the store still knows acts no more", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  const request = ask();
  const first = await accepted(before.power, request);
  (await before.hypervisor.next()).answer({ stdout: saw("running") });
  await first.settled;
  const { power, hypervisor } = stage({ memory });
  expect((await accepted(power, request)).operation).toMatchObject({
    id: request.key,
    outcome: { kind: "done" },
  });
  expect(hypervisor.calls).toEqual([]);
  expect(power.current("devvm")).toBe(null);
});

test("a key that only the store still knows comes with its output, and leaves no line in the index", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  const request = ask();
  const first = await accepted(before.power, request);
  const call = await before.hypervisor.next();
  call.say("all of it\n");
  call.answer({ stdout: saw("running") });
  await first.settled;
  const { power } = stage({ memory });
  const answers = await Promise.all([accepted(power, request), accepted(power, { ...request, by: "ben" })]);
  for (const { operation } of answers) expect(operation).toMatchObject({ by: "ana", output: "all of it\n" });
  expect(memory.kinds("operations")).toEqual(["requested", "settled"]);
});

test("a repeated key is answered only once the first request is recorded or known not to be", async () => {
  const { power, hypervisor, store } = stage();
  store.fault = "hang";
  const request = ask();
  const answers = await Promise.all([accepted(power, request), accepted(power, request)]);
  expect(answers.map(({ operation }) => operation.durable)).toEqual([false, false]);
  (await hypervisor.next()).answer({ stdout: saw("running") });
  store.fault = "none";
});

test("what was damaged in the index is passed over and told, and settles nothing on record", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  const keys = [];
  for (let n = 0; n < 5; n++) {
    const request = ask();
    keys.push(request.key);
    const { settled } = await accepted(before.power, request);
    (await before.hypervisor.next()).answer({ stdout: saw("running") });
    await settled;
  }
  // The first one's end, and the whole of the third.
  memory.damaged.set("operations", new Set([1, 4, 5]));
  const { power, logged } = stage({ memory });
  await power.recover();
  expect(power.history("devvm").map(({ id }) => id)).toEqual([keys[4], keys[3], keys[1], keys[0]]);
  expect(power.history("devvm").at(-1)?.outcome).toMatchObject({
    kind: "unknown",
    reason: expect.stringContaining("could not be read"),
  });
  expect(logged.join()).toContain("3 records");
  expect(memory.kinds(`operation/${keys[0]}`)).toEqual(["requested", "settled"]);
  expect(memory.streams.get("operations")?.length).toBe(10);
});

test("an index that is damaged on disk keeps neither the start nor a Verb", async () => {
  const directory = mkdtempSync(join(tmpdir(), "bg-power-"));
  const open = () => openFiles({ directory, report: () => {} });
  const file = join(directory, "streams", "operations.sse");
  const first = await open();
  const before = stage({ store: first });
  const keys = [];
  for (let n = 0; n < 3; n++) {
    const request = ask();
    keys.push(request.key);
    const { settled } = await accepted(before.power, request);
    (await before.hypervisor.next()).answer({ stdout: saw("running") });
    await settled;
  }
  await first.close();
  const bytes = readFileSync(file);
  bytes[bytes.indexOf(keys[1]!)]! ^= 1;
  writeFileSync(file, bytes);
  const second = await open();
  const { power } = stage({ store: second });
  await power.recover();
  expect(power.history("devvm").map(({ id }) => id)).toEqual([keys[2], keys[0]]);
  await second.close();
  rmSync(file);
  mkdirSync(file);
  const third = await open();
  const unread = stage({ store: third });
  await unread.power.recover();
  expect(unread.logged.join()).toContain("could not be read");
  const { settled } = await accepted(unread.power, ask());
  (await unread.hypervisor.next()).answer({ stdout: saw("running") });
  expect((await settled).outcome?.kind).toBe("done");
  await third.close();
  rmSync(directory, { recursive: true });
});

test.each(["hang", "refuse"] as const)(
  "a store whose reads %s keeps neither the start nor a Verb",
  async (readFault) => {
    const memory = new MemoryStore();
    memory.readFault = readFault;
    const { power, hypervisor, logged } = stage({ memory });
    await power.recover();
    expect(logged.join()).toContain("could not be read");
    const { settled } = await accepted(power, ask());
    (await hypervisor.next()).answer({ stdout: saw("running") });
    expect((await settled).outcome?.kind).toBe("done");
  },
);

test.each(["hang", "refuse"] as const)(
  "an Operation is answered though reads %s, and says that its output is not there",
  async (readFault) => {
    const memory = new MemoryStore();
    const before = stage({ memory });
    const request = ask();
    const { settled } = await accepted(before.power, request);
    (await before.hypervisor.next()).answer({ stdout: saw("running") });
    await settled;
    const { power } = stage({ memory });
    await power.recover();
    memory.readFault = readFault;
    expect(await power.get(request.key)).toMatchObject({
      id: request.key,
      outcome: { kind: "done" },
      output: expect.stringContaining("could not be read"),
    });
  },
);

test("output is bounded, told in pieces at their offsets, and says that it was cut", async () => {
  const { power, hypervisor } = stage();
  const news: OperationNews[] = [];
  power.watch((each) => news.push(each));
  const { settled } = await accepted(power, ask());
  const call = await hypervisor.next();
  for (let line = 0; line < 4_000; line++) call.say(`${"ä".repeat(99)}\n`);
  call.answer({ stdout: saw("running") });
  const { output } = await settled;
  expect(Buffer.byteLength(output)).toBeLessThan(129 * 1024);
  expect(output.endsWith("[more output was not kept]\n")).toBe(true);
  let told = "";
  for (const { output: piece } of news) {
    if (piece === undefined) continue;
    expect(piece.from).toBe(told.length);
    told += piece.text;
  }
  expect(told).toBe(output);
  expect(news.every(({ operation }) => operation.output === "")).toBe(true);
});

test("a hypervisor driver that throws leaves the Operation unknown and the Target free", async () => {
  const broken = () => Promise.reject(new Error("bug"));
  const { power, logged } = stage({
    targets: new Map([["devvm", { run: broken, attach: broken }]]),
  });
  const { settled } = await accepted(power, ask());
  expect((await settled).outcome?.kind).toBe("unknown");
  expect(power.current("devvm")).toBe(null);
  expect(logged.join()).toContain("bug");
});

test("waiting for a Verb answers with the fixed contract's fields", async () => {
  const { power, hypervisor } = stage();
  const cycle = power.runAndWait("devvm", "cycle", "ana");
  const call = await hypervisor.next();
  const busy = await power.runAndWait("devvm", "stop", "ben");
  expect(busy).toMatchObject({ verb: "stop", exit_code: 75, rejected: true });
  expect(busy.stderr).toContain("ana");
  call.answer({ stdout: `fine\n${saw("running")}`, stderr: "warned\n" });
  expect(await cycle).toEqual({
    verb: "cycle",
    exit_code: 0,
    stdout: `fine\n${saw("running")}`,
    stderr: "warned\n",
    rejected: false,
  });

  const failed = power.runAndWait("devvm", "start", "ana");
  (await hypervisor.next()).answer({ exit_code: 4, stderr: "no quorum\n" });
  expect(await failed).toMatchObject({ exit_code: 4, stderr: "no quorum\n", rejected: false });
  const refused = power.runAndWait("devvm", "reset", "ana");
  (await hypervisor.next()).answer({ exit_code: 9, stderr: "not running\n" });
  expect(await refused).toMatchObject({ exit_code: 9, rejected: true });
  const unseen = power.runAndWait("devvm", "stop", "ana");
  (await hypervisor.next()).answer({ exit_code: 0 });
  expect(await unseen).toMatchObject({ exit_code: null, rejected: false });
  const status = power.runAndWait("devvm", "status", "ana");
  (await hypervisor.next()).answer({ stdout: "status: running\n" });
  expect(await status).toEqual({
    verb: "status",
    exit_code: 0,
    stdout: "status: running\n",
    stderr: "",
    rejected: false,
  });

  const unpowered = await power.runAndWait("lamp", "cycle", "ana");
  expect(unpowered).toMatchObject({ exit_code: null, rejected: true });
  expect(unpowered.stderr).toContain("BREAKGLASS_PVE_HOST");
});

test("after a restart an Operation that is asked about holds nothing, is the last one, and becomes known", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  const open = ask();
  await accepted(before.power, open);
  (await before.hypervisor.next()).say("Stopping");

  const { power, hypervisor } = stage({ memory });
  await power.recover();
  const asked = await hypervisor.next();
  expect(power.current("devvm")).toBe(null);
  expect(power.last("devvm")).toMatchObject({ id: open.key });
  expect(power.last("devvm")?.outcome).toBe(undefined);
  // The host's lock decides whether another may act.
  const next = await accepted(power, ask({ after: open.key }));
  (await hypervisor.next()).answer({ exit_code: 75, stdout: saw("running", { holder: open.key }) });
  expect((await next.settled).outcome).toEqual({ kind: "busy", holder: open.key });
  // The host tells a Job from its beginning: what was kept before is not there twice.
  asked.say("Stopping\n");
  asked.say("Starting\n");
  asked.answer({ stdout: saw("running") });
  await expect
    .poll(() => power.history("devvm")[1])
    .toMatchObject({ id: open.key, outcome: { kind: "done" } });
  expect(await power.get(open.key)).toMatchObject({ output: "Stopping\nStarting\n" });
  await expect.poll(() => memory.kinds(`operation/${open.key}`).at(-1)).toBe("settled");
  const later = stage({ memory });
  await later.power.recover();
  expect(await later.power.get(open.key)).toMatchObject({
    output: "Stopping\nStarting\n",
    outcome: { kind: "done" },
  });
});

test("after a restart what was only read is unknown at once: there is nobody to ask", async () => {
  const memory = new MemoryStore();
  const before = stage({ memory });
  await accepted(before.power, ask({ verb: "forensics" }));
  await before.hypervisor.next();
  const { power, hypervisor } = stage({ memory });
  await power.recover();
  expect(power.history("devvm")[0]?.outcome?.kind).toBe("unknown");
  expect(hypervisor.calls).toEqual([]);
});

test("forensics are kept with the Operation, and are there after a restart", async () => {
  const memory = new MemoryStore();
  const { power, hypervisor } = stage({ memory });
  const request = ask();
  const { settled } = await accepted(power, request);
  const call = await hypervisor.next();
  const png = Buffer.from("a picture");
  call.show({ probe: "qm-config", end: "hung", output: "" });
  call.show({ probe: "host", end: "answered", output: "load", bytes: 40_000 });
  call.show({ probe: "screen", png: png.toString("base64") });
  call.answer({ stdout: saw("running", { forensics_id: "20260101-102", verdict: "io-stall-suspected" }) });
  const forensics = {
    id: "20260101-102",
    verdict: "io-stall-suspected",
    screen: true,
    probes: [
      { probe: "qm-config", end: "hung", output: "" },
      { probe: "host", end: "answered", output: "load", bytes: 40_000 },
    ],
  };
  expect(await settled).toMatchObject({ forensics });
  expect(power.history("devvm")[0]).not.toHaveProperty("forensics");
  const later = stage({ memory });
  await later.power.recover();
  expect((await later.power.get(request.key))?.forensics).toEqual(forensics);
  expect(await later.power.screen(request.key)).toEqual(png);
  expect(await later.power.screen(newKey())).toBe(null);
});

test("a reset that was accepted is unknown until the guest is seen to boot, and then done", async () => {
  const guest = Promise.withResolvers<boolean>();
  const { power, hypervisor } = stage({ comesBack: new Map([["devvm", () => guest.promise]]) });
  const waiting = power.runAndWait("devvm", "reset", "ana");
  (await hypervisor.next()).answer({ stdout: saw("running", { pid_after: 4711 }) });
  await expect.poll(() => power.last("devvm")?.outcome).toMatchObject({ kind: "unknown" });
  expect(power.current("devvm")).toBe(null);
  guest.resolve(true);
  const status = await hypervisor.next();
  expect(status.verb).toBe("status");
  status.answer({ stdout: saw("running", { pid_after: 4711 }) });
  expect(await waiting).toMatchObject({ exit_code: 0 });
  expect(power.last("devvm")?.outcome).toMatchObject({ kind: "done", changed: true });
});

test("a reset is no cure when the guest did not come back, or when something else was done meanwhile", async () => {
  const guest = Promise.withResolvers<boolean>();
  let ended: AbortSignal | undefined;
  const { power, hypervisor } = stage({
    comesBack: new Map([["devvm", (_, signal) => ((ended = signal), guest.promise)]]),
  });
  const reset = await accepted(power, ask({ verb: "reset" }));
  (await hypervisor.next()).answer({ stdout: saw("running") });
  expect((await reset.settled).outcome?.kind).toBe("unknown");
  const cycle = await accepted(power, ask({ after: reset.operation.id }));
  expect(ended?.aborted).toBe(true);
  (await hypervisor.next()).answer({ stdout: saw("running") });
  expect((await cycle.settled).outcome?.kind).toBe("done");
  guest.resolve(true);
  await guest.promise;
  expect((await power.get(reset.operation.id))?.outcome?.kind).toBe("unknown");
});

test("a boot in another QEMU process is somebody's cycle, and no cure by the reset", async () => {
  const { power, hypervisor } = stage({ comesBack: new Map([["devvm", async () => true]]) });
  const waiting = power.runAndWait("devvm", "reset", "ana");
  (await hypervisor.next()).answer({ stdout: saw("running", { pid_after: 4711 }) });
  (await hypervisor.next()).answer({ stdout: saw("running", { pid_after: 4712 }) });
  expect(await waiting).toMatchObject({ exit_code: null });
  expect(power.last("devvm")?.outcome?.kind).toBe("unknown");
});

test("a reset whose answer comes after another Verb was asked for is not told by that one's boot", async () => {
  const clock = new ManualClock();
  let asked = 0;
  const { power, hypervisor } = stage({
    clock,
    verbTimeoutMs: 60_000,
    comesBack: new Map([["devvm", async () => (asked++, true)]]),
  });
  const reset = await accepted(power, ask({ verb: "reset" }));
  const late = await hypervisor.next();
  clock.pass(60_000);
  await reset.settled;
  const cycle = await accepted(power, ask());
  late.answer({ stdout: saw("running", { pid_after: 4711 }) });
  (await hypervisor.next()).answer({ stdout: saw("running", { pid_after: 4712 }) });
  await cycle.settled;
  expect(asked).toBe(0);
  expect((await power.get(reset.operation.id))?.outcome?.kind).toBe("unknown");
});

test("the end of the server settles nothing: the next start asks what became of it", async () => {
  const memory = new MemoryStore();
  const { power, hypervisor } = stage({ memory });
  const request = ask();
  await accepted(power, request);
  const call = await hypervisor.next();
  await power.close();
  call.answer({ exit_code: null, stderr: "The server is stopping.\n" });
  const later = stage({ memory });
  await later.power.recover();
  const attached = await later.hypervisor.next();
  expect(attached).toMatchObject({ how: "attach", job: request.key });
  attached.answer({ stdout: saw("running") });
  await expect.poll(() => later.power.last("devvm")?.outcome?.kind).toBe("done");
  expect(memory.kinds(`operation/${request.key}`)).toEqual(["requested", "settled"]);
});
