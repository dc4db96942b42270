import { rm } from "node:fs/promises";
import { closeSync, openSync, readFileSync, readlinkSync, readdirSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { kill, lives, makeHost, testTimeout, until, type Host } from "./host.ts";
import { openQmp, readOperations } from "./qmp.ts";

vi.setConfig({ testTimeout });

// What the stand-in prints is what Proxmox VE's own prints (qemu-server 9.2): the other tests of this folder stand on it.

let host: Host;
beforeEach(async () => {
  host = await makeHost();
});
afterEach(async () => {
  const told = host.text("unlocked");
  await host.end();
  expect(told).toBe("");
});

/** qm is content when the pid file is gone, which is a moment before the process is: as with a real QEMU. */
const gone = (pid: number) => until(host.dir, () => !lives(pid));
const says = (stdout: string) => ({ exit_code: 0, stdout, stderr: "" });
const fails = (stderr: string) => ({ exit_code: 255, stdout: "", stderr: `${stderr}\n` });

it("starts a machine that has QEMU's arguments and a pid file, and stops it", async () => {
  expect(await host.qm("start", "102")).toEqual(says(""));
  const pid = host.pid();
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  expect(words[words.indexOf("-id") + 1]).toBe("102");
  expect(words[words.indexOf("-pidfile") + 1]).toBe(host.file("102.pid"));
  expect(await host.qm("start", "102")).toEqual(fails("VM 102 already running"));
  expect(await host.qm("stop", "102")).toEqual(says(""));
  await gone(pid);
  expect(host.pid()).toBeNaN();
  expect(await host.qm("stop", "102")).toEqual(says(""));
  expect(host.powerCalls()).toEqual(["start 102", "start 102", "stop 102", "stop 102"]);
});

it("shows status as one line, or all of it, sorted and nested with tabs", async () => {
  expect(await host.qm("status", "102")).toEqual(says("status: stopped\n"));
  await host.qm("start", "102");
  await host.machineFault("qmpstatus", "io-error");
  await host.configure("lock: backup");
  expect(await host.qm("status", "102")).toEqual(says("status: io-error\n"));
  const { stdout } = await host.qm("status", "102", "--verbose");
  expect(stdout).toMatch(/^blockstat:\n\tscsi0:\n(\t\t[a-z_]+: \d+\n)+cpus: 2\nlock: backup\n/);
  expect(stdout).toMatch(new RegExp(`\\npid: ${host.pid()}\\nqmpstatus: io-error\\nstatus: running\\n`));
  const keys = [...stdout.matchAll(/^\w+/gm)].map(([key]) => key);
  expect(keys).toEqual(keys.toSorted());
});

it("says running of a machine whose QMP is silent: the pid file is all it has", async () => {
  await host.qm("start", "102");
  await host.machineFault("qmpstatus", "paused");
  await host.freeze();
  expect(await host.qm("status", "102")).toEqual(says("status: running\n"));
  host.thaw();
  expect(await host.qm("status", "102")).toEqual(says("status: paused\n"));
});

it("shows configuration, and what is staged; a start takes it over", async () => {
  await host.configure("[PENDING]\nmemory: 8192\nhotplug: 0\ndelete: scsi0");
  expect((await host.qm("config", "102")).stdout).toMatch(
    /^agent: 1\ncores: 2\nmemory: 4096\nname: devvm\nscsi0: /,
  );
  expect((await host.qm("pending", "102")).stdout).toBe(
    "cur agent: 1\ncur cores: 2\nnew hotplug: 0\ncur memory: 4096\nnew memory: 8192\ncur name: devvm\n" +
      "del scsi0: local-lvm:vm-102-disk-0,size=20G\n",
  );
  await host.qm("start", "102");
  expect(await host.qm("config", "102")).toEqual(
    says("agent: 1\ncores: 2\nhotplug: 0\nmemory: 8192\nname: devvm\n"),
  );
});

it("asks the guest agent", async () => {
  expect(await host.qm("guest", "cmd", "102", "ping")).toEqual(fails("VM 102 is not running"));
  await host.qm("start", "102");
  expect(await host.qm("guest", "cmd", "102", "ping")).toEqual(says(""));
  expect(await host.qm("agent", "102", "ping")).toEqual(says(""));
  await host.freeze();
  expect(await host.qm("agent", "102", "ping")).toEqual(fails("QEMU guest agent is not running"));
});

it("resets a running machine only, and gives up on a silent one", async () => {
  expect(await host.qm("reset", "102")).toEqual(fails("VM 102 not running"));
  await host.qm("start", "102");
  const pid = host.pid();
  expect(await host.qm("reset", "102")).toEqual(says(""));
  expect(host.pid()).toBe(pid);
  await host.freeze();
  expect(await host.qm("reset", "102")).toEqual(
    fails("VM 102 qmp command 'system_reset' failed - got timeout"),
  );
});

it.each([
  ["ignores quit", ["ignore-quit"], ["VM still running - terminating now with SIGTERM"]],
  [
    "ignores quit and TERM",
    ["ignore-quit", "ignore-term"],
    ["VM still running - terminating now with SIGTERM", "VM still running - terminating now with SIGKILL"],
  ],
  [
    "is silent and ignores TERM",
    ["silent", "ignore-term"],
    [
      "VM quit/powerdown failed - terminating now with SIGTERM",
      "VM still running - terminating now with SIGKILL",
    ],
  ],
] as const)("stops a machine that %s by force, and says so on stdout", async (_, faults, words) => {
  await host.qm("start", "102");
  const pid = host.pid();
  for (const fault of faults) await host.machineFault(fault);
  expect(await host.qm("stop", "102")).toEqual(says(words.map((line) => `${line}\n`).join("")));
  await gone(pid);
});

it("stops a machine that is stopped by a signal", async () => {
  await host.qm("start", "102");
  const pid = host.pid();
  await host.freeze();
  expect((await host.qm("stop", "102")).exit_code).toBe(0);
  await gone(pid);
});

it("does nothing to a locked machine; a stopped one is stopped already", async () => {
  await host.configure("lock: backup");
  expect(await host.qm("start", "102")).toEqual(fails("VM is locked (backup)"));
  expect(await host.qm("stop", "102")).toEqual(says(""));
});

it("resumes a machine under backup, and neither stops nor resets it", async () => {
  await host.qm("start", "102");
  const pid = host.pid();
  await host.configure("lock: backup");
  for (const verb of ["stop", "reset"])
    expect(await host.qm(verb, "102")).toEqual(fails("VM is locked (backup)"));
  expect(await host.qm("start", "102")).toEqual(says(""));
  expect(host.pid()).toBe(pid);
});

it("unlocks, and what it was told to unlock is known afterwards", async () => {
  await host.configure("lock: backup");
  expect(await host.qm("unlock", "102")).toEqual(says(""));
  expect((await host.qm("config", "102")).stdout).not.toContain("lock");
  expect(host.text("unlocked")).toBe("102\n");
  await rm(host.file("unlocked"));
});

it("waits for the lock file, and then gives up", async () => {
  const release = await host.holdConfigLock();
  expect(await host.qm("start", "102")).toEqual({
    exit_code: 255,
    stdout: "trying to acquire lock...\n",
    stderr: `can't lock file '${host.file("lock-102.conf")}' - got timeout\n`,
  });
  await release();
  expect(await host.qm("start", "102")).toEqual(says(""));
});

it("only queues what HA manages", async () => {
  await host.manageByHa("nothing");
  expect(await host.qm("start", "102")).toEqual(says("Requesting HA start for VM 102\n"));
  expect(host.pid()).toBeNaN();
  await host.manageByHa("carries-out");
  await host.qm("start", "102");
  await until(host.dir, () => lives(host.pid()));
  const pid = host.pid();
  expect(await host.qm("stop", "102")).toEqual(says("Requesting HA stop for VM 102\n"));
  await gone(pid);
});

it("knows no machine of another node", async () => {
  await host.moveTo("elsewhere");
  const missing = `Configuration file 'nodes/${host.node}/qemu-server/102.conf' does not exist`;
  for (const verb of ["status", "config", "pending", "start", "reset"])
    expect(await host.qm(verb, "102")).toEqual(fails(missing));
  expect(await host.qm("stop", "102")).toEqual(
    fails(`unable to find configuration file for VM 102 on node '${host.node}'`),
  );
});

it("answers the monitor's lines, errors included, with 0", async () => {
  expect(await host.qm("monitor", "102")).toEqual(
    says("Entering QEMU Monitor for VM 102 - type 'help' for help\nqm> \n"),
  );
});

it.each([
  [["status"], /^400 not enough arguments/],
  [["status", "x"], /^400 Parameter verification failed/],
  [["frobnicate", "102"], /^ERROR: unknown command 'qm frobnicate'/],
])("refuses %j", async (words, message) => {
  expect(await host.qm(...words)).toEqual({
    exit_code: 255,
    stdout: "",
    stderr: expect.stringMatching(message),
  });
});

it("dies of a closed stdout, and takes the half-done stop along", async () => {
  await host.qm("start", "102");
  await host.machineFault("ignore-quit");
  await host.machineFault("ignore-term");
  const stop = spawn(host.file("qm"), ["stop", "102"], { stdio: ["ignore", "pipe", "pipe"], env: {} });
  stop.stdout.destroy();
  const [code] = (await once(stop, "exit")) as [number];
  expect(code).toBe(255);
  expect(lives(host.pid())).toBe(true);
});

it("leaves its worker behind, and the lock with it, when it is killed outright", async () => {
  await host.fault("stop", "hang");
  const stop = spawn(host.file("qm"), ["stop", "102"], { stdio: "ignore", env: {}, detached: true });
  await host.saw("hung", "\n");
  process.kill(-stop.pid!, "SIGKILL");
  await once(stop, "exit");
  const worker = Number(host.text("hung"));
  expect(lives(worker)).toBe(true);
  expect((await host.qm("start", "102")).stderr).toContain("can't lock file");
  kill(worker);
  await gone(worker);
  expect(await host.qm("start", "102")).toEqual(says(""));
});

it("passes every fault of its verbs on", async () => {
  await host.fault("start", "fail-once no space left on device");
  expect(await host.qm("start", "102")).toEqual(fails("no space left on device"));
  await host.fault("stop", "gate");
  expect(await host.qm("start", "102")).toEqual(says(""));
  const stopping = host.qm("stop", "102");
  await host.saw("calls", "stop 102");
  expect(lives(host.pid())).toBe(true);
  await host.openGate("stop");
  expect(await stopping).toEqual(says(""));
  await host.fault("start", "lie");
  expect(await host.qm("start", "102")).toEqual(says(""));
  expect(host.pid()).toBeNaN();
});

it("keeps what it inherits open, as a daemonised QEMU does", async () => {
  const lock = openSync(host.file("leaked"), "w");
  const start = spawn(host.file("qm"), ["start", "102"], {
    stdio: ["ignore", "ignore", "ignore", lock],
    env: {},
  });
  await once(start, "exit");
  closeSync(lock);
  const open = readdirSync(`/proc/${host.pid()}/fd`).map((fd) =>
    readlinkSync(`/proc/${host.pid()}/fd/${fd}`),
  );
  expect(open).toContain(host.file("leaked"));
  expect(open.slice(0, 3)).toEqual(["/dev/null", "/dev/null", "/dev/null"]);
});

it("hangs in a start on hung storage, a QEMU without a pid file behind it", async () => {
  await host.machineFault("hung-storage");
  const start = spawn(host.file("qm"), ["start", "102"], { stdio: "ignore", env: {} });
  const qemus = () =>
    host
      .text("processes")
      .split("\n")
      .map((line) => Number(line.split(" ")[0]))
      .filter((pid) => pid > 0 && argumentsOf(pid).includes(host.file("102.pid")));
  await until(host.dir, () => qemus().length === 1);
  expect(host.pid()).toBeNaN();
  expect(lives(start.pid!)).toBe(true);
  const ended = once(start, "exit");
  kill(qemus()[0]!);
  expect((await ended)[0]).toBe(255);
});

// --- QMP -------------------------------------------------------------------------------------------------------------

it("speaks QMP: a greeting, the negotiation, answers with their ids, errors in QMP's shape", async () => {
  await host.qm("start", "102");
  const qmp = await openQmp(host.qmp());
  expect(qmp.greeting).toMatchObject({ QMP: { version: { qemu: { major: expect.any(Number) } } } });
  expect(await qmp.ask("query-status")).toMatchObject({ error: { class: "CommandNotFound" } });
  expect(await qmp.ask("qmp_capabilities", { id: 7 })).toEqual({ return: {}, id: 7 });
  expect(await qmp.ask("query-status")).toEqual({
    return: { status: "running", running: true },
  });
  expect(await qmp.ask("nonsense")).toEqual({
    error: { class: "CommandNotFound", desc: "The command nonsense has not been found" },
  });
  expect(await qmp.ask("query-jobs")).toEqual({ return: [] });
  expect(await qmp.ask("query-block")).toMatchObject({ return: [{ device: "drive-scsi0" }] });
  const png = host.file("screen.png");
  const screendump = () => qmp.ask("screendump", { arguments: { filename: png, format: "png" } });
  expect(await screendump()).toEqual({ return: {} });
  expect(readFileSync(png).subarray(1, 4).toString()).toBe("PNG");
  await host.machineFault("screendump", "fail no screen");
  expect(await screendump()).toEqual({ error: { class: "GenericError", desc: "no screen" } });
  const pid = host.pid();
  expect(await qmp.ask("quit")).toEqual({ return: {} });
  await gone(pid);
});

it("counts operations that move, stand still, or all but stand still", async () => {
  await host.qm("start", "102");
  const qmp = await openQmp(host.qmp());
  await qmp.ask("qmp_capabilities");
  const busy = await readOperations(qmp);
  const still = await readOperations(qmp);
  expect(still - busy).toBeGreaterThan(10);
  await host.machineFault("frozen");
  expect(await readOperations(qmp)).toBe(still);
  await host.mendMachine("frozen");
  await host.machineFault("throttled");
  const slow = await readOperations(qmp);
  expect(slow - still).toBeLessThan(60);
  qmp.end();
});

it("admits one QMP client at a time", async () => {
  await host.qm("start", "102");
  const first = await openQmp(host.qmp());
  let greeted = false;
  const second = openQmp(host.qmp()).then((qmp) => {
    greeted = true;
    return qmp;
  });
  await first.ask("qmp_capabilities");
  expect(greeted).toBe(false);
  first.end();
  (await second).end();
});

it("turns clients away while others wait for a silent monitor, and qm says so", async () => {
  await host.qm("start", "102");
  await host.freeze();
  // Some are let in to wait, and reset when the machine ends; the others are turned away themselves.
  const waiting = Array.from({ length: 4 }, () => connect(host.qmp()).on("error", () => {}));
  await Promise.all(
    waiting.map((socket) => new Promise((resolve) => socket.once("connect", resolve).once("close", resolve))),
  );
  const { exit_code, stderr } = await host.qm("reset", "102");
  expect(exit_code).toBe(255);
  expect(stderr).toMatch(/failed - unable to connect to VM 102 qmp socket - timeout after \d+ retries\n$/);
  expect(await host.qm("status", "102")).toEqual(says("status: running\n"));
  expect((await host.qm("stop", "102")).exit_code).toBe(0);
  for (const socket of waiting) socket.destroy();
});

it("falls silent when it is reset over hung storage", async () => {
  await host.qm("start", "102");
  await host.machineFault("hung-storage");
  expect((await host.qm("reset", "102")).stderr).toContain("got timeout");
  expect(await host.qm("status", "102")).toEqual(says("status: running\n"));
});

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
