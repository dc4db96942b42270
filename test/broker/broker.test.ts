import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BrokerEvent, Door } from "../../src/server/broker/broker.ts";
import { frame } from "../../src/server/broker/frames.ts";
import { encode } from "../../src/server/process/frames.ts";
import { saw } from "../power/stage.ts";
import { brokerStage, shim, startShim, type BrokerStage } from "./stage.ts";

let stage: BrokerStage;

beforeEach(async () => {
  stage = await brokerStage();
});
afterEach(() => stage.close());

const settled = () => stage.events.filter((event) => event.kind === "exec" && event.phase === "settled");
const text = (bytes: Buffer) => bytes.toString();

const session = () => ({
  id: crypto.randomUUID(),
  mode: () => "autonomous" as const,
  record: async () => {},
});

/** What the door says to a request, without the price of a process. */
function knock(door: Door, argv: readonly string[]): Promise<string> {
  const socket = connect(door.socketPath);
  socket.write(
    encode(frame.request, Buffer.from(JSON.stringify({ token: door.token, program: "ssh", argv }))),
  );
  return socket.toArray().then((chunks) => Buffer.concat(chunks).toString());
}

/** Resolves when the session has recorded such an event. */
async function recorded(match: Partial<Record<string, unknown>>): Promise<BrokerEvent> {
  const fits = (event: BrokerEvent) =>
    Object.entries(match).every(([key, value]) => event[key as keyof BrokerEvent] === value);
  await expect.poll(() => stage.events.some(fits), { timeout: 50_000 }).toBe(true);
  return stage.events.find(fits)!;
}

test("a command runs on the unprivileged account, from stdin to exit code, and is on record", async () => {
  const ran = await shim(stage.door, ["devvm", "cat;", "echo oops >&2;", "exit 3"], {
    input: Buffer.from("hällo\n"),
  });
  expect({ ...ran, stdout: text(ran.stdout) }).toEqual({ code: 3, stdout: "hällo\n", stderr: "oops\n" });
  const command = "cat; echo oops >&2; exit 3";
  const facts = { kind: "exec", n: 0, target: "devvm", account: "observer", command };
  expect(stage.events).toEqual([
    { ...facts, phase: "started" },
    {
      ...facts,
      phase: "settled",
      end: { kind: "exited", code: 3 },
      duration_ms: expect.any(Number),
      bytes: 12,
      excerpt: expect.any(String),
    },
  ]);
  expect(stage.door.busy()).toBe(false);
});

test("bytes of every value pass both ways unchanged", async () => {
  const input = randomBytes(3_000_000);
  const ran = await shim(stage.door, ["devvm", "cat"], { input });
  expect(ran.code).toBe(0);
  expect(ran.stdout.equals(input)).toBe(true);
});

test("what agents type around a command is understood", async () => {
  for (const args of [
    ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "devvm", "echo ok"],
    ["-tt", "-p", "22", "-i/none", "devvm", "echo", "ok"],
    ["-nT", "devvm", "--", "echo ok"],
    ["observer@devvm", "echo ok"],
    ["-l", "observer", "devvm", "-v", "echo ok"],
  ]) {
    expect(await shim(stage.door, args)).toMatchObject({ code: 0, stdout: Buffer.from("ok\n") });
  }
});

test("what cannot be done is refused with a plain sentence, and recorded as refused", async () => {
  for (const [args, sentence] of [
    [[], "no machine was named"],
    [["nowhere", "true"], 'no machine "nowhere"'],
    [["bob@devvm", "true"], 'account "bob"'],
    [["-L", "1:a:2", "devvm", "true"], "-L"],
    [["-N", "devvm"], "-N"],
    [["pve", "status; id"], "cycle, forensics, reset, start, status, stop"],
    [["pve", "reboot"], "verbs"],
  ] as const) {
    const ran = await shim(stage.door, args);
    expect(ran.code).toBe(255);
    expect(ran.stderr).toContain(sentence);
  }
  expect(settled().map((event) => "end" in event && event.end.kind)).toEqual(
    Array.from({ length: 7 }, () => "refused"),
  );
  expect(stage.events.length).toBe(7);
});

test("a Verb is an operation of the session, and its output streams", async () => {
  stage.mode = "autonomous";
  for (const verb of ["cycle", "start"] as const) {
    const ran = shim(stage.door, ["pve", verb]);
    const call = await stage.hypervisor.next();
    call.say(`${verb} goes on\n`);
    call.answer({ stdout: saw("running") });
    expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from(`${verb} goes on\n`) });
  }
  expect(stage.events).toMatchObject([
    { kind: "operation", phase: "requested", verb: "cycle" },
    { kind: "operation", phase: "settled", verb: "cycle", outcome: { kind: "done" }, durable: true },
    { kind: "operation", phase: "requested", verb: "start" },
    { kind: "operation", phase: "settled", verb: "start" },
  ]);
  expect(stage.power.history("devvm").map(({ by }) => by)).toEqual(["agent", "agent"]);
  const forensics = shim(stage.door, ["pve", "forensics"]);
  (await stage.hypervisor.next()).answer({ stdout: "evidence\n" });
  expect((await forensics).code).toBe(0);
});

test("a Verb whose end nobody saw is no success for the agent, and a busy Target says who holds it", async () => {
  stage.mode = "autonomous";
  const unseen = shim(stage.door, ["pve", "cycle"]);
  const call = await stage.hypervisor.next();
  const busy = await shim(stage.door, ["pve", "stop"]);
  expect(busy).toMatchObject({ code: 75, stderr: expect.stringContaining("cycle, asked for by agent") });
  call.answer({ exit_code: 0 });
  expect(await unseen).toMatchObject({ code: 255, stderr: expect.stringContaining("unknown") });
});

test("a Verb runs on though the agent went away", async () => {
  stage.mode = "autonomous";
  const child = startShim(stage.door, "ssh", ["pve", "cycle"]);
  const call = await stage.hypervisor.next();
  child.kill("SIGKILL");
  await stage.door.endTurn();
  expect(stage.door.busy()).toBe(true);
  call.answer({ stdout: saw("running") });
  await recorded({ kind: "operation", phase: "settled" });
});

test("what cannot be recorded is not run", async () => {
  stage.recordFault = () => Promise.reject(new Error("disk full"));
  const mark = join(stage.dir, "ran");
  const ran = await shim(stage.door, ["devvm", `touch ${mark}`]);
  expect(ran).toMatchObject({ code: 255, stderr: expect.stringContaining("not run") });
  expect(existsSync(mark)).toBe(false);
  stage.mode = "autonomous";
  expect((await shim(stage.door, ["pve", "cycle"])).code).toBe(255);
  expect(stage.hypervisor.calls).toEqual([]);
});

test("a wrong token, and no token at all, run nothing", async () => {
  const wrong = await shim({ ...stage.door, token: "guess" }, ["devvm", "true"]);
  expect(wrong).toMatchObject({ code: 255, stderr: expect.stringContaining("token") });
  const none = await shim({ ...stage.door, token: "" }, ["devvm", "true"]);
  expect(none).toMatchObject({ code: 255, stderr: expect.stringContaining("BREAKGLASS_TOKEN") });
  expect(stage.events).toEqual([]);
});

test("one session's token opens no other session's door", async () => {
  const other = await stage.broker.open(session());
  other.beginTurn();
  const ran = await shim(
    { ...other, binDir: other.binDir, socketPath: other.socketPath, token: stage.door.token },
    ["devvm", "true"],
  );
  expect(ran.code).toBe(255);
  expect(statSync(join(other.socketPath, "..")).mode & 0o777).toBe(0o700);
});

test("after the door was closed nothing answers, and the shim says so", async () => {
  await stage.door.close();
  expect(await shim(stage.door, ["devvm", "true"])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("not reached"),
  });
});

test("six commands at once each get their own answer, and a seventh is told to wait", async () => {
  const go = join(stage.dir, "go");
  const running = Array.from({ length: 6 }, (_, n) =>
    shim(stage.door, ["devvm", `echo ${n}; while [ ! -e ${go} ]; do sleep 0.1; done; exit ${n}`]),
  );
  await expect.poll(() => stage.events.length, { timeout: 50_000 }).toBe(6);
  const seventh = await shim(stage.door, ["devvm", "true"]);
  expect(seventh).toMatchObject({ code: 255, stderr: expect.stringContaining("wait until some have ended") });
  writeFileSync(go, "");
  const ran = await Promise.all(running);
  expect(ran.map(({ code, stdout }) => `${code} ${text(stdout)}`)).toEqual(
    Array.from({ length: 6 }, (_, n) => `${n} ${n}\n`),
  );
  const started = stage.events.filter((event) => event.kind === "exec" && event.phase === "started");
  expect(new Set(started.map((event) => "n" in event && event.n)).size).toBe(6);
});

test("300 MB for a slow reader arrive whole without being held in memory", async () => {
  const child = startShim(stage.door, "ssh", ["devvm", "head -c 300000000 /dev/zero"]);
  child.stdin!.end();
  // Nobody reads yet: the command has to stop in its pipe.
  let bytes = 0;
  await recorded({ kind: "exec", phase: "started" });
  const before = process.memoryUsage().rss;
  let most = 0;
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  for await (const chunk of child.stdout!) {
    bytes += (chunk as Buffer).length;
    most = Math.max(most, process.memoryUsage().rss);
  }
  expect(await ended).toBe(0);
  expect(bytes).toBe(300_000_000);
  expect(most - before).toBeLessThan(150_000_000);
  const [event] = settled();
  expect(event).toMatchObject({ bytes: 300_000_000, cut: { bytes: 300_000_000 } });
  expect("excerpt" in event! && event.excerpt.length).toBeLessThan(20_000);
});

test("an excerpt keeps the beginning and the end, in whole characters", async () => {
  await shim(stage.door, ["devvm", "echo first; yes ä€😀 | head -n 5000; echo last"]);
  const [event] = settled();
  if (event?.kind !== "exec" || event.phase !== "settled") throw new Error("no exec event");
  expect(event.excerpt.startsWith("first\n")).toBe(true);
  expect(event.excerpt.endsWith("last\n")).toBe(true);
  expect(event.excerpt).not.toContain("\uFFFD");
  expect(event.excerpt).toContain("bytes left out");
});

test("when the agent goes away its command is ended on the guest", async () => {
  const mark = join(stage.dir, "alive");
  const child = startShim(stage.door, "ssh", [
    "devvm",
    `echo yes > ${mark}; echo started; while [ -e ${stage.dir} ]; do sleep 0.2; done`,
  ]);
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  expect(stage.door.busy()).toBe(true);
  child.kill("SIGKILL");
  const event = await recorded({ kind: "exec", phase: "settled" });
  expect(event).toMatchObject({ end: { kind: "ended" } });
  expect(readFileSync(mark, "utf8")).toBe("yes\n");
  await expect.poll(() => stage.door.busy()).toBe(false);
});

test("the end of a turn ends what still runs on guests, and waits for the record", async () => {
  const child = startShim(stage.door, "ssh", [
    "devvm",
    `echo started; while [ -e ${stage.dir} ]; do sleep 0.2; done`,
  ]);
  const code = new Promise((resolve) => child.once("close", resolve));
  child.stderr!.resume();
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  await stage.door.endTurn();
  expect(settled()).toMatchObject([{ end: { kind: "ended" } }]);
  expect(stage.door.busy()).toBe(false);
  child.stdout!.resume();
  expect(await code).toBe(255);
  stage.door.beginTurn();
  expect((await shim(stage.door, ["devvm", "echo next"])).code).toBe(0);
});

test("between turns, and before the first, a door runs nothing and says so", async () => {
  const fresh = await stage.broker.open(session());
  await stage.door.endTurn();
  stage.mode = "autonomous";
  for (const door of [fresh, stage.door]) {
    for (const args of [["devvm", "true"], ["pve", "cycle"], []]) {
      expect(await shim(door, args)).toMatchObject({
        code: 255,
        stderr: expect.stringContaining("no turn is running. Nothing was run."),
      });
    }
  }
  expect(stage.events).toEqual([]);
  expect(stage.hypervisor.calls).toEqual([]);
  stage.door.beginTurn();
  expect((await shim(stage.door, ["devvm", "true"])).code).toBe(0);
});

test("a door of the same session that closes late leaves its successor's socket alone", async () => {
  await stage.close();
  const runtimeName = `test-${crypto.randomUUID().slice(0, 8)}`;
  stage = await brokerStage({ runtimeName });
  const same = session();
  const [first, second] = [await stage.broker.open(same), await stage.broker.open(same)];
  expect(Buffer.byteLength(second.socketPath)).toBeLessThan(100);
  await first.close();
  expect(existsSync(first.socketPath)).toBe(false);
  second.beginTurn();
  expect((await shim(second, ["devvm", "true"])).code).toBe(0);
  const folder = join(second.socketPath, "../..");
  expect(folder.endsWith(`bg-${runtimeName}-broker`)).toBe(true);
  await stage.broker.close();
  expect(existsSync(folder)).toBe(false);
});

test("a command is recorded whole as long as it can be sent, and else cut, with its length", async () => {
  const sent = `echo ${"é".repeat(50_000)} | wc -c`;
  const ran = await shim(stage.door, ["devvm", sent]);
  expect({ ...ran, stdout: text(ran.stdout).trim() }).toEqual({ code: 0, stdout: "100001", stderr: "" });
  const long = `echo ${"é".repeat(60_000)} | wc -c`;
  expect((await shim(stage.door, ["devvm", long])).code).toBe(255);
  expect((await shim(stage.door, ["nowhere", long])).code).toBe(255);
  const [whole, cut, refused] = settled().map((event) => ("command" in event ? event.command : ""));
  expect(whole).toBe(sent);
  for (const [command, bytesMax] of [
    [cut!, 100 * 1024],
    [refused!, 8 * 1024],
  ] as const) {
    expect(Buffer.byteLength(command)).toBeGreaterThan(bytesMax - 10);
    expect(Buffer.byteLength(command)).toBeLessThan(bytesMax + 100);
    expect(command).not.toContain("\uFFFD");
  }
  expect(cut).toContain(`[cut: ${Buffer.byteLength(long)} bytes in all]`);
});

test("a request that is longer than a frame is refused with a sentence", async () => {
  const ran = await shim(stage.door, ["devvm", ...Array.from({ length: 30 }, () => "x".repeat(10_000))]);
  expect(ran).toMatchObject({ code: 255, stderr: expect.stringContaining("Nothing was run") });
  expect(stage.events).toEqual([]);
});

test("a flood of refused requests is answered, and recorded only up to a bound in each turn", async () => {
  const flood = async (requests: number) => {
    for (let n = 0; n < requests; n++)
      expect(await knock(stage.door, ["nowhere", "true"])).toContain("nowhere");
  };
  await flood(210);
  expect(stage.events.length).toBe(201);
  expect(stage.events.at(-1)).toMatchObject({
    n: 200,
    end: { kind: "refused", reason: expect.stringContaining("not recorded one by one") },
  });
  await stage.door.endTurn();
  stage.door.beginTurn();
  await flood(1);
  expect(stage.events.length).toBe(202);
});

test("a command that wants no stdin is not disturbed by a lot of it", async () => {
  const ran = await shim(stage.door, ["devvm", "echo done"], { input: Buffer.alloc(2_000_000) });
  expect(ran).toMatchObject({ code: 0, stdout: Buffer.from("done\n") });
});

test("a reader that closes early ends the command", async () => {
  const child = startShim(stage.door, "ssh", ["devvm", "yes"]);
  child.stdin!.on("error", () => {});
  child.stderr!.resume();
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  child.stdout!.destroy();
  await new Promise((resolve) => child.once("exit", resolve));
  expect(await recorded({ kind: "exec", phase: "settled" })).toMatchObject({ end: { kind: "ended" } });
});
