import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { lives, makeHost, testTimeout, type Host } from "./host.ts";
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
