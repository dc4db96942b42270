import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { finished, lives, makeHost, startHost, testTimeout, type Host } from "./host.ts";
import { jobId, wholeSteps } from "./jobs.ts";

vi.setConfig({ testTimeout });

let host: Host;
beforeEach(async () => {
  host = await makeHost();
});
afterEach(() => host.end());

/** A cycle, carried out to its end, of which not all could be written down. */
async function cyclesAllTheSame() {
  await host.qm("start", "102");
  const before = host.pid();
  const cycled = await host.run(`v2 cycle ${jobId(1)}`);
  expect(cycled).toMatchObject({
    exit_code: 0,
    result: { result: "done", state_after: "running", durable: false },
  });
  wholeSteps(cycled);
  expect(lives(before)).toBe(false);
  expect(lives(host.pid())).toBe(true);
  // The journal in memory serves whoever asks again.
  expect((await host.run(`v2 cycle ${jobId(1)}`)).stdout).toBe(cycled.stdout);
  expect(await host.run("status")).toMatchObject({
    exit_code: 0,
    stdout: expect.stringMatching(/^status: running\n/),
  });
}

it("cycles when there is nowhere to write, and says durable:false", async () => {
  await writeFile(host.file("state"), "a file where the folder should be");
  await mkdir(host.file("log"));
  await cyclesAllTheSame();
});

it("keeps the log bounded", async () => {
  await writeFile(host.file("log"), "x".repeat(1024 * 1024 + 1));
  await host.run("status");
  expect(host.text("log").length).toBeLessThan(1000);
  expect(host.text("log.1").length).toBeGreaterThan(1024 * 1024);
});

it("does not join what a full disk has cut off with what comes after it", async () => {
  const cut = '{"job":"half of the first li';
  await mkdir(host.file("state/jobs"), { recursive: true });
  await writeFile(host.file("log"), "half a line");
  await host.fault("start", "gate");
  const begun = finished(startHost(`v2 start ${jobId(1)}`, ["--config", host.config, "102"]));
  await host.saw("calls", "start 102");
  await appendFile(host.file(`state/jobs/${jobId(1)}`), cut);
  await host.openGate("start");
  const { result } = await begun;
  expect(host.text("log")).toMatch(/^half a line\n\d/);
  const record = host.text(`state/jobs/${jobId(1)}`).split("\n");
  expect(record.at(-3)).toBe(cut);
  expect(JSON.parse(record.at(-2)!)).toMatchObject({ result: "done" });
  // After a crash of the host this is all that is left.
  await rm(host.file("run"), { recursive: true });
  expect((await host.run(`v2 attach ${jobId(1)} 0`)).result).toEqual(result);
});

// The host's memory, which is where the jobs are: a tmpfs that is full.
describe.skipIf(process.getuid!() !== 0)("a memory of its own (needs root)", () => {
  const filled = () => {
    try {
      execFileSync("dd", ["if=/dev/zero", `of=${host.file("run/fill")}`, "bs=4k"], { stdio: "ignore" });
    } catch {
      // It ends when there is no space left, and says so by its code.
    }
  };
  /** What is left of the page that a file has already. */
  const fillPage = (path: string) =>
    appendFile(host.file(path), "\n".repeat(4096 - (statSync(host.file(path)).size % 4096)));
  beforeEach(async () => {
    await mkdir(host.file("run"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", host.file("run")]);
    await host.run("start");
  });
  afterEach(() => {
    execFileSync("umount", ["--lazy", host.file("run")]);
  });

  it("that fills while a job goes on costs what it says, and neither its deeds nor its end", async () => {
    const before = host.pid();
    await host.fault("stop", "gate");
    const call = finished(startHost(`v2 cycle ${jobId(1)}`, ["--config", host.config, "102"]));
    await host.saw("calls", "stop 102");
    filled();
    for (const name of ["journal", "steps"]) await fillPage(`run/jobs/${jobId(1)}/${name}`);
    await host.openGate("stop");
    const ended = await call;
    expect(ended).toMatchObject({ exit_code: 0, result: { result: "done", state_after: "running" } });
    expect(lives(before)).toBe(false);
    // It is on disk that it has ended: nobody takes it for one that died with the machine off.
    await host.run("status");
    expect((await host.run(`v2 attach ${jobId(1)} 0`)).result).toEqual(ended.result);
    expect(host.powerCalls().slice(1)).toEqual(["stop 102", "start 102"]);
  });

  it("that was full before does not keep a machine from being cycled", async () => {
    const before = host.pid();
    filled();
    const cycled = await host.run(`v2 cycle ${jobId(1)}`);
    expect(cycled).toMatchObject({ exit_code: 0, result: { result: "done", state_after: "running" } });
    expect(lives(before)).toBe(false);
    expect((await host.run(`v2 attach ${jobId(1)} 0`)).result).toEqual(cycled.result);
  });
});

// A disk of its own: an ext4 image, with the log and the journal on it.
describe.skipIf(process.getuid!() !== 0)("a disk of its own (needs root)", () => {
  const disk = () => host.file("disk");
  beforeEach(async () => {
    await mkdir(disk());
    execFileSync("truncate", ["-s", "8M", host.file("image")]);
    execFileSync("mkfs.ext4", ["-q", "-m", "0", host.file("image")]);
    execFileSync("mount", ["-o", "loop", host.file("image"), disk()]);
    const paths = { state: host.file("disk/state"), log: host.file("disk/log") };
    const lines = host
      .text("conf")
      .split("\n")
      .filter((line) => !/^(state|log)=/.test(line));
    await writeFile(host.config, [...lines, `state=${paths.state}`, `log=${paths.log}`, ""].join("\n"));
  });
  afterEach(() => {
    // Lazily: what hung on it may still be ending.
    execFileSync("umount", ["--lazy", disk()]);
  });

  it("that is full costs the record and nothing else", async () => {
    try {
      execFileSync("dd", ["if=/dev/zero", `of=${host.file("disk/fill")}`, "bs=4k"], { stdio: "ignore" });
    } catch {
      // It ends when there is no space left, and says so by its code.
    }
    await cyclesAllTheSame();
  });

  it("that is read-only costs the record and nothing else", async () => {
    execFileSync("mount", ["-o", "remount,ro", disk()]);
    await cyclesAllTheSame();
  });

  it("that hangs costs the record and nothing else", async () => {
    execFileSync("fsfreeze", ["-f", disk()]);
    try {
      await cyclesAllTheSame();
    } finally {
      execFileSync("fsfreeze", ["-u", disk()]);
    }
  });
});
