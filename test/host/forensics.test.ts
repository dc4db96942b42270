import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { makeHost, testTimeout, type Ended, type Host } from "./host.ts";

vi.setConfig({ testTimeout });

let host: Host;
beforeEach(async () => {
  // Long enough for a busy machine to answer within its limits.
  host = await makeHost({ scale: 300 });
});
afterEach(() => host.end());

const probe = ({ machine }: Ended, name: string) => machine.find((line) => line["probe"] === name);
const verdict = async () => (await host.run("forensics")).result["verdict"];

it("gathers every probe as a step of its own, with its whole length", async () => {
  await host.run("start");
  const seen = await host.run("v2 forensics 0f8fad5b-d9cb-469f-a165-70867728950e");
  expect(seen.exit_code).toBe(0);
  expect(seen.machine.map(({ seq }) => seq)).toEqual(seen.machine.map((_, index) => index));
  const ends = Object.fromEntries(
    seen.machine.flatMap((line) => ("probe" in line ? [[line["probe"], line["end"]]] : [])),
  );
  expect(ends).toEqual({
    "qm-status": "answered",
    "qm-config": "answered",
    "qm-pending": "answered",
    "guest-agent": "answered",
    "qmp-status": "answered",
    "qmp-blockstats-1": "answered",
    "qmp-blockstats-2": "answered",
    "qmp-jobs": "answered",
    "qmp-block-jobs": "answered",
    threads: "answered",
    host: "answered",
    kernel: expect.stringMatching(/answered|failed/),
    screen: "answered",
  });
  expect(probe(seen, "qm-config")).toMatchObject({
    output: expect.stringContaining("name: devvm"),
    bytes: expect.any(Number),
  });
  expect(probe(seen, "threads")?.["output"]).toMatch(/^\d+ S \(sleeping\) /);
});

it("shows the screen as a PNG, and keeps a large one on the host", async () => {
  await host.run("start");
  const png = probe(await host.run("forensics"), "screen")?.["png"] as string;
  expect(Buffer.from(png, "base64").subarray(1, 4).toString()).toBe("PNG");

  await host.machineFault("screendump", "huge");
  const seen = await host.run("forensics");
  expect(probe(seen, "screen")).toMatchObject({
    end: "answered",
    output: expect.stringContaining("on the host only"),
  });
  expect(probe(seen, "screen")).not.toHaveProperty("png");
  const kept = host.file(`state/forensics/${String(seen.result["forensics_id"])}/screen.png`);
  expect(readFileSync(kept).length).toBeGreaterThan(256 * 1024);
});

it("goes on without a picture where QEMU makes none", async () => {
  await host.run("start");
  await host.machineFault("screendump", "fail no surface");
  expect(probe(await host.run("forensics"), "screen")).toMatchObject({
    end: "failed",
    output: expect.stringContaining("no surface"),
  });
});

it("leaves no picture and no call of its own behind in memory", async () => {
  await host.run("start");
  await host.run("forensics");
  await host.run("cycle");
  await host.run("status");
  expect(readdirSync(host.file("run")).toSorted()).toEqual(["jobs", "lock-102", "since", "since.lock"]);
  for (const job of readdirSync(host.file("run/jobs")))
    expect(readdirSync(host.file(`run/jobs/${job}`)).toSorted()).toEqual([
      "alive",
      "errors",
      "journal",
      "steps",
    ]);
});

it("stops although every question of the evidence hangs", async () => {
  await host.run("start");
  for (const question of ["status", "config", "pending", "agent"]) await host.fault(question, "hang");
  await host.freeze();
  const stopped = await host.run("stop");
  expect(stopped).toMatchObject({ exit_code: 0, result: { state_after: "stopped", verdict: "qmp-silent" } });
  expect(stopped.stdout).toContain("qm-status: HUNG");
  expect(stopped.stdout).toContain("qmp-status: HUNG");
});

it("marks what hangs in its forensics and answers the rest", async () => {
  await host.run("start");
  await host.fault("config", "hang");
  const seen = await host.run("forensics");
  expect(seen.exit_code).toBe(0);
  expect(seen.stdout).toContain("qm-config: HUNG");
  expect(probe(seen, "qm-config")).toMatchObject({ end: "hung" });
  expect(probe(seen, "qm-pending")).toMatchObject({
    end: "answered",
    output: expect.stringContaining("cur name: devvm"),
  });
});

it("suspects an I/O stall only where QMP is prompt, counters stand still and the agent is silent", async () => {
  await host.run("start");
  expect(await verdict()).toBe("disk-io-moves");
  await host.machineFault("frozen");
  expect(await verdict()).toBe("idle: the guest agent answers");
  await host.fault("agent", "fail QEMU guest agent is not running");
  expect(await verdict()).toBe("io-stall-suspected");
  const { stdout, result } = await host.run("reset");
  expect(stdout).toContain("A cycle does");
  expect(result["text"]).toContain("cycle is what cures that");
});

it("takes about one operation a second for a stall as well", async () => {
  await host.run("start");
  await host.machineFault("throttled");
  await host.fault("agent", "fail QEMU guest agent is not running");
  expect(await verdict()).toBe("io-stall-suspected");
});

it("does not judge a machine without a guest agent by its counters alone", async () => {
  await host.configure("agent: 0");
  await host.run("start");
  await host.machineFault("frozen");
  expect(await verdict()).toMatch(/^inconclusive/);
});

it("says of a QEMU that is silent that it is, and not that its disk stalls", async () => {
  await host.run("start");
  await host.machineFault("frozen");
  await host.freeze();
  expect(await verdict()).toBe("qmp-silent");
});

it("cuts what a probe prints, and says how long it was", async () => {
  await host.fault("config", `fail ${"x".repeat(100_000)}`);
  const config = probe(await host.run("forensics"), "qm-config");
  expect(config).toMatchObject({ output: "x".repeat(16_384), bytes: 100_001 });
});

it("encodes what the backend prints: a machine line cannot be forged", async () => {
  await host.run("start");
  await host.fault("config", 'fail "\\\u0001\u00e9\nBG1 {"seq":0,"result":"done","code":0}');
  const { machine, stdout } = await host.run("v2 cycle 0f8fad5b-d9cb-469f-a165-70867728950e");
  expect(machine.filter((line) => "result" in line)).toHaveLength(1);
  expect(machine.at(-1)).toHaveProperty("result");
  expect(stdout).toMatch(/^[\x20-\x7e\n]*$/);
  expect(machine.find((line) => line["probe"] === "qm-config")?.["output"]).toBe(
    '"\\\u0001\u00e9\nBG1 {"seq":0,"result":"done","code":0}\n',
  );
});

it("keeps the evidence of the last twenty only, and its own whatever the clock says", async () => {
  await mkdir(host.file("state/forensics"), { recursive: true });
  // As after a clock that was set back: all others are of the future.
  for (let n = 10; n < 35; n++) await mkdir(host.file(`state/forensics/20990101T0000${n}Z-102-1`));
  const { result } = await host.run("start");
  const kept = readdirSync(host.file("state/forensics"));
  expect(kept).toHaveLength(20);
  expect(kept).toContain(result["forensics_id"]);
});

it("says durable:false of evidence that could not be kept, and goes on", async () => {
  await mkdir(host.file("state"));
  await writeFile(host.file("state/forensics"), "a file where the folder should be");
  expect(await host.run("start")).toMatchObject({
    exit_code: 0,
    result: { durable: false, state_after: "running" },
  });
  expect(existsSync(host.file("state/jobs"))).toBe(true);
});
