import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { outcomeOf } from "../../src/protocol/outcome.ts";
import {
  breakglassHost,
  finished,
  kill,
  lives,
  makeHost,
  startHost,
  testTimeout,
  until,
  type Host,
} from "./host.ts";

vi.setConfig({ testTimeout });

let host: Host;
beforeEach(async () => {
  host = await makeHost();
});
afterEach(() => host.end());

/** For what takes minutes, and nothing has to answer within. */
const quicken = async () => {
  await host.end();
  host = await makeHost({ scale: 10 });
};

it("starts, cycles into a new process, and stops", async () => {
  const started = await host.run("start");
  expect(started).toMatchObject({
    exit_code: 0,
    result: { state_before: "stopped", state_after: "running", changed: true },
  });
  const first = host.pid();
  expect(lives(first)).toBe(true);

  const cycled = await host.run("v2 cycle 0f8fad5b-d9cb-469f-a165-70867728950e");
  expect(cycled).toMatchObject({
    exit_code: 0,
    result: {
      result: "done",
      job: "0f8fad5b-d9cb-469f-a165-70867728950e",
      pid_before: first,
      pid_after: host.pid(),
      changed: true,
      durable: true,
    },
  });
  expect(host.pid()).not.toBe(first);
  expect(lives(first)).toBe(false);
  const phases = cycled.machine.flatMap(({ phase }) => (phase === undefined ? [] : [phase]));
  expect(phases).toEqual(["asked", "forensics", "stopping", "off", "starting", "running"]);

  expect(await host.run("stop")).toMatchObject({
    exit_code: 0,
    result: { state_after: "stopped", pid_after: null },
  });
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102", "stop 102"]);
});

it("answers what the protocol calls done, for every mutating verb", async () => {
  for (const verb of ["start", "reset", "cycle", "stop"] as const) {
    expect(outcomeOf(verb, await host.run(verb))).toMatchObject({ kind: "done", changed: true });
  }
});

it("takes a start of a running and a stop of a stopped machine for done, unchanged, and asks qm for neither", async () => {
  expect(await host.run("stop")).toMatchObject({
    exit_code: 0,
    result: { changed: false, state_after: "stopped" },
  });
  await host.run("start");
  expect(await host.run("start")).toMatchObject({
    exit_code: 0,
    result: { changed: false, state_after: "running" },
  });
  expect(host.powerCalls()).toEqual(["start 102"]);
});

it("turns a cycle of a stopped machine into a start", async () => {
  expect(await host.run("cycle")).toMatchObject({
    exit_code: 0,
    result: { state_before: "stopped", state_after: "running" },
  });
  expect(host.powerCalls()).toEqual(["start 102"]);
});

it("resets the same process, and not a stopped machine", async () => {
  expect(await host.run("reset")).toMatchObject({ exit_code: 9, result: { result: "nothing" } });
  await host.run("start");
  const pid = host.pid();
  expect(await host.run("reset")).toMatchObject({
    exit_code: 0,
    result: { pid_before: pid, pid_after: pid },
  });
});

it("does not take qm's word for off: a process that still lives is killed", async () => {
  await host.run("start");
  const pid = host.pid();
  await host.fault("stop", "lie");
  const stopped = await host.run("stop");
  expect(stopped).toMatchObject({ exit_code: 0, result: { state_after: "stopped" } });
  expect(stopped.stdout).toContain("killing it");
  expect(lives(pid)).toBe(false);
});

it("kills the process when qm stop hangs, and ends that qm", async () => {
  await quicken();
  await host.run("start");
  await host.fault("stop", "hang");
  expect(await host.run("stop")).toMatchObject({ exit_code: 0, result: { state_after: "stopped" } });
  expect(lives(Number(host.text("hung")))).toBe(false);
});

it("does not take qm's word for on", async () => {
  await quicken();
  await host.fault("start", "lie");
  expect(await host.run("start")).toMatchObject({
    exit_code: 6,
    result: { result: "off", state_after: "stopped" },
  });
});

it("leaves a cycle that cannot start with the machine off, after three starts, and says so", async () => {
  await host.run("start");
  await host.fault("start", "fail no space left on device");
  const cycled = await host.run("cycle");
  expect(cycled).toMatchObject({
    exit_code: 6,
    result: { result: "off", state_after: "stopped", changed: true },
  });
  expect(cycled.stderr).toContain("OFF");
  expect(cycled.stderr).toContain("no space left on device");
  expect(host.powerCalls().filter((call) => call === "start 102")).toHaveLength(1 + 3);
});

it("takes a cycle's second start for done when the first failed", async () => {
  await host.run("start");
  await host.fault("start", "fail busy");
  const cycling = startHost("cycle", ["--config", host.config, "102"]);
  cycling.stdout!.on("data", (text: Buffer) => {
    if (text.toString().includes("Start 1 of 3 failed")) void host.mend("start");
  });
  expect(await finished(cycling)).toMatchObject({ exit_code: 0, result: { state_after: "running" } });
});

it("never ends a qm start that hangs, and does not say what it does not know", async () => {
  await quicken();
  await host.fault("start", "hang");
  const started = await host.run("start");
  expect(started).toMatchObject({ exit_code: 5, result: { result: "unknown", state_after: "stopped" } });
  expect(lives(Number(host.text("hung").trim()))).toBe(true);
  expect(outcomeOf("start", started).kind).toBe("unknown");
});

it("does not call a machine started that stays in prelaunch", async () => {
  await quicken();
  await writeFile(host.file("qmpstatus"), "prelaunch");
  expect(await host.run("start")).toMatchObject({ exit_code: 8, result: { result: "unverified" } });
});

it("keeps the log bounded", async () => {
  await writeFile(host.file("log"), "x".repeat(1024 * 1024 + 1));
  await host.run("status");
  expect(host.text("log").length).toBeLessThan(1000);
  expect(host.text("log.1").length).toBeGreaterThan(1024 * 1024);
});

it("never takes VM 1021 for VM 102", async () => {
  await host.run("start 1021", [102, 1021]);
  const other = host.pid(1021);
  // A pid file that names the other machine's process, as after a reused pid.
  await writeFile(host.file("102.pid"), `${other}\n`);
  expect(await host.run("status")).toMatchObject({ exit_code: 0, result: { state_after: "stopped" } });
  expect(await host.run("stop 102", [102, 1021])).toMatchObject({ exit_code: 0, result: { changed: false } });
  expect(lives(other)).toBe(true);
});

it("takes a zombie for off", async () => {
  const parent = spawn("perl", ["-e", '$| = 1; my $c = fork; exit 0 unless $c; print "$c\\n"; sleep 600'], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const zombie = await new Promise<string>((resolve) =>
    parent.stdout.once("data", (text: Buffer) => resolve(text.toString())),
  );
  await writeFile(host.file("102.pid"), zombie);
  expect(await host.run("status")).toMatchObject({ exit_code: 0, result: { state_after: "stopped" } });
  kill(parent.pid!);
});

describe("a killed QEMU with a thread that hangs, its leader a zombie", () => {
  /** As the kernel leaves it: the leader has ended by itself (by `exit`, not `exit_group`), another thread lives on. */
  const hangsOn = async () => {
    const exit = process.arch === "arm64" ? 93 : 60;
    const script = `use threads; threads->create(sub { sleep 600 })->detach; syscall(${exit}, 0)`;
    const child = spawn("perl", ["-e", script, "--", "-id", "102", "-pidfile", host.file("102.pid")]);
    await until(host.dir, () => !lives(child.pid!));
    return child;
  };

  it.each(["noted in the pid file", "found by its arguments"])("is not off: %s", async (how) => {
    const child = await hangsOn();
    if (how === "noted in the pid file") await writeFile(host.file("102.pid"), `${child.pid}\n`);
    try {
      const status = await host.run("status");
      expect(status.result).toMatchObject({
        state_after: "running",
        pid_after: child.pid,
        process_state: "S",
      });
      expect((await host.run("start")).stdout).toContain("already running");
      expect(host.powerCalls()).toEqual([]);
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("is killed, and off only once all of it is gone", async () => {
    await quicken();
    const child = await hangsOn();
    const gone = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    expect(await host.run("stop")).toMatchObject({ exit_code: 0, result: { pid_before: child.pid } });
    expect(await gone).toBe("SIGKILL");
  });
});

it("finds a machine whose pid file is gone by its arguments", async () => {
  await host.run("start");
  const pid = host.pid();
  await rm(host.file("102.pid"));
  expect((await host.run("status")).result).toMatchObject({ state_after: "running", pid_after: pid });
  kill(pid);
});

it.each(["1 ; touch x", "0", "-1", "99999999999999", "$(id)", ""])(
  "takes a pid file with %j in it for off",
  async (text) => {
    await writeFile(host.file("102.pid"), text);
    expect((await host.run("status")).result).toMatchObject({ state_after: "stopped" });
  },
);

it("says what locks the machine, and kills nothing behind a lock", async () => {
  await host.run("start");
  const pid = host.pid();
  await host.fault("stop", "fail VM is locked (backup)");
  const cycled = await host.run("cycle");
  expect(cycled).toMatchObject({
    exit_code: 3,
    result: { result: "locked", state_after: "running", changed: false },
  });
  expect(cycled.stderr).toContain("backup");
  expect(lives(pid)).toBe(true);
});

// The first process of a pid namespace is deaf to SIGKILL from inside it, as one in D state is.
it.skipIf(!existsSync("/usr/bin/bwrap") && !process.env["CI"])(
  "neither unlocks nor starts a machine whose process cannot be killed",
  async () => {
    await quicken();
    await host.fault("stop", "lie");
    await writeFile(host.file("102.pid"), "1\n");
    const inside = `my $c = fork; if (!$c) { $ENV{SSH_ORIGINAL_COMMAND} = "cycle"; exec $ARGV[2], "--config", $ARGV[3], 102 } waitpid $c, 0; exit($? >> 8)`;
    const ended = await finished(
      spawn(
        "bwrap",
        [
          "--unshare-pid",
          "--as-pid-1",
          "--dev-bind",
          "/",
          "/",
          "--proc",
          "/proc",
          "--",
          "perl",
          "-e",
          inside,
          "--",
        ].concat(["-id", "102", breakglassHost, host.config]),
      ),
    );
    expect(ended).toMatchObject({ exit_code: 7, result: { result: "unkillable", state_after: "running" } });
    expect(host.powerCalls()).toEqual(["stop 102"]);
    await rm(host.file("102.pid"));
  },
);

it("names what the host cannot do", async () => {
  await host.fault("status", "fail Configuration file 'nodes/pve/qemu-server/102.conf' does not exist");
  expect((await host.run("status")).exit_code).toBe(4);
  await host.mend("status");
  await chmod(host.file("qm"), 0o644);
  expect((await host.run("cycle")).exit_code).toBe(4);
});

it("ends with 4 and touches nothing when its configuration is wrong", async () => {
  await writeFile(host.config, "qm=/bin/true\nextra=$(id)\n");
  const { exit_code, stderr } = await host.run("cycle");
  expect({ exit_code, stderr }).toEqual({ exit_code: 4, stderr: expect.stringContaining("configuration") });
});

it("names the task that holds a backup lock", async () => {
  await host.run("start");
  const backup = spawn(
    "perl",
    [
      "-e",
      '$0 = "task UPID:pve:0001:0002:0003:vzdump:102:root\\@pam:"; print "."; $| = 1; print "."; sleep 600',
    ],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  await new Promise((resolve) => backup.stdout.once("data", resolve));
  await host.configure("lock: backup");
  const stopped = await host.run("stop");
  expect(stopped).toMatchObject({
    exit_code: 3,
    result: { holder: `backup: vzdump (process ${backup.pid})` },
  });
  kill(backup.pid!);
});

it("says of a lock that no task holds that it may be stale, and never removes it", async () => {
  await host.configure("lock: backup");
  const started = await host.run("start");
  expect(started).toMatchObject({
    exit_code: 3,
    result: { state_after: "stopped", holder: "backup: no task seen" },
  });
  expect(started.stderr).toContain("qm unlock 102");
  expect(host.text("unlocked")).toBe("");
});

it("does not try a locked machine thrice that was off before the cycle", async () => {
  await host.configure("lock: migrate");
  expect(await host.run("cycle")).toMatchObject({
    exit_code: 3,
    result: { result: "locked", changed: false },
  });
  expect(host.powerCalls()).toEqual(["start 102"]);
});

it("tells of the lock of a machine that runs already, and does not resume it", async () => {
  await host.run("start");
  await host.configure("lock: backup");
  const started = await host.run("start");
  expect(started).toMatchObject({ exit_code: 0, result: { changed: false } });
  expect(started.stdout).toContain("locked by the hypervisor (backup)");
  expect(host.powerCalls()).toEqual(["start 102"]);
});

it("says that another task holds the lock file", async () => {
  await host.run("start");
  const release = await host.holdConfigLock();
  expect(await host.run("stop")).toMatchObject({
    exit_code: 3,
    result: { result: "locked", state_after: "running" },
  });
  await release();
  expect((await host.run("stop")).exit_code).toBe(0);
});

it.each(["stop", "start", "cycle", "reset"])(
  "sends a %s of a machine on another node there, and does not call it off",
  async (verb) => {
    await host.moveTo("other");
    const told = await host.run(verb);
    expect(told).toMatchObject({ exit_code: 4, result: { result: "impossible" } });
    expect(told.stderr).toContain("node other");
    expect(host.powerCalls()).toEqual([]);
  },
);

it("cannot do anything to a machine that no node has", async () => {
  await rm(host.file("nodes"), { recursive: true });
  expect(await host.run("stop")).toMatchObject({ exit_code: 4, result: { result: "impossible" } });
});

it("does not call a machine off while nobody can tell where it lives", async () => {
  await rm(host.file("nodes"), { recursive: true });
  await host.fault("status", "hang");
  expect(await host.run("stop")).toMatchObject({
    exit_code: 5,
    result: { result: "unknown", changed: false },
  });
});

it.each(["cluster not ready - no quorum?", "ipcc_send_rec[1] failed: Connection refused"])(
  "names the cluster's fault: %s",
  async (words) => {
    await host.run("start");
    await host.fault("stop", `fail ${words}`);
    const stopped = await host.run("stop");
    expect(stopped).toMatchObject({ exit_code: 4, result: { state_after: "running" } });
    expect(stopped.stderr).toContain(words);
  },
);

it("waits for what HA was asked to do, and is done when it is seen", async () => {
  await host.run("start");
  await host.manageByHa("carries-out");
  expect((await host.run("status")).result).toMatchObject({ ha: "yes" });
  expect(await host.run("cycle")).toMatchObject({
    exit_code: 0,
    result: { state_after: "running", changed: true },
  });
});

it("does not take HA's queue for done, and kills nothing behind its back", async () => {
  await quicken();
  await host.run("start");
  const pid = host.pid();
  await host.manageByHa("nothing");
  expect(await host.run("stop")).toMatchObject({
    exit_code: 5,
    result: { result: "unknown", state_after: "running" },
  });
  expect(lives(pid)).toBe(true);
});

it("does not call a start done that HA has only queued, nor failed", async () => {
  await quicken();
  await host.manageByHa("nothing");
  expect(await host.run("start")).toMatchObject({
    exit_code: 5,
    result: { result: "unknown", state_after: "stopped" },
  });
  expect(host.powerCalls()).toEqual(["start 102"]);
});

it("says of a machine that HA starts on another node that it was stopped here", async () => {
  await host.end();
  host = await makeHost({ scale: 30 });
  await host.run("start");
  await host.manageByHa("carries-out");
  // HA accepts the start, and does not carry it out here.
  await host.fault("start", "fail not here");
  const cycle = host.run("cycle");
  await host.saw("ha/requests", "start vm:102");
  await host.moveTo("other");
  const cycled = await cycle;
  expect(cycled).toMatchObject({ exit_code: 4, result: { state_after: "stopped", changed: true } });
  expect(cycled.stderr).toBe(
    "VM 102 lives on node other, not on this host. It was stopped here. Ask that node for its status.\n",
  );
});

it("does not reset, nor call stopped, a machine whose process does not show what it is", async () => {
  await writeFile(host.file("102.pid"), `${process.pid}\n`);
  // The arguments of a process whose memory is locked: the child that reads them hangs.
  const script = `
    use Breakglass::Verbs; use Breakglass::Disk; use Breakglass::Steps;
    { no warnings; *Breakglass::Task::answer_of = sub { undef } }
    my $settings = Breakglass::Settings->read($ARGV[0]);
    my $verbs = Breakglass::Verbs->new(settings => $settings, verb => 'reset', vmid => 102,
      steps => Breakglass::Steps->new(to => sub {}), disk => Breakglass::Disk->new($settings));
    my $end = $verbs->carry_out(sub { $verbs->begin_mutating });
    print "BG1 ", Breakglass::Json::object(seq => 0, $verbs->closing($end)), "\n"`;
  const lib = join(dirname(breakglassHost), "lib");
  const { result } = await finished(spawn("perl", [`-I${lib}`, "-e", script, host.config]));
  expect(result).toMatchObject({ result: "unknown", code: 5, state_after: "unknown", changed: false });
  expect(result["text"]).toContain("cannot be told");
  expect(host.powerCalls()).toEqual([]);
});

it("cycles a machine whose QEMU is frozen", async () => {
  await host.run("start");
  const pid = host.pid();
  await host.freeze();
  expect((await host.run("status")).result).toMatchObject({
    state_after: "running",
    process_state: "T",
    qmp: "no answer",
  });
  expect(await host.run("cycle")).toMatchObject({
    exit_code: 0,
    result: { pid_before: pid, pid_after: host.pid() },
  });
  expect(lives(pid)).toBe(false);
});

it("starts the machine after a qm stop that hung with the lock in its hands", async () => {
  await quicken();
  await host.run("start");
  await host.fault("stop", "hang");
  expect(await host.run("cycle")).toMatchObject({ exit_code: 0, result: { state_after: "running" } });
});

it("finds the QEMU of a start that hangs on its storage, and says 5 with what is seen", async () => {
  await quicken();
  await host.machineFault("hung-storage");
  const started = await host.run("v2 start 0f8fad5b-d9cb-469f-a165-70867728950e");
  expect(started).toMatchObject({
    exit_code: 5,
    result: { result: "unknown", state_after: "running", pid_after: expect.any(Number) },
  });
  const seen = started.machine.find(({ probe }) => probe === "start");
  expect(seen).toMatchObject({
    end: "hung",
    output: expect.stringContaining(`QEMU ${String(started.result["pid_after"])}:`),
  });
  expect(lives(started.result["pid_after"] as number)).toBe(true);
});

it("waits in a cycle for a start that hangs, however long it takes", async () => {
  await quicken();
  await host.run("start");
  await host.fault("start", "gate");
  const cycling = startHost("v2 cycle 0f8fad5b-d9cb-469f-a165-70867728950e", [
    "--config",
    host.config,
    "102",
  ]);
  cycling.stdout!.on("data", (text: Buffer) => {
    // Long after the deadline of a plain start.
    if (text.toString().includes("still under way")) void host.openGate("start");
  });
  expect(await finished(cycling)).toMatchObject({ exit_code: 0, result: { state_after: "running" } });
});

it("reset that hangs is unknown, and leaves no qm with the lock", async () => {
  await quicken();
  await host.run("start");
  await host.fault("reset", "hang");
  expect(await host.run("reset")).toMatchObject({
    exit_code: 5,
    result: { result: "unknown", state_after: "running" },
  });
  await host.mend("reset");
  expect((await host.run("cycle")).exit_code).toBe(0);
});

it("shows every fact of a machine by itself", async () => {
  await host.run("start");
  await host.machineFault("qmpstatus", "guest-panicked");
  await host.configure("lock: snapshot");
  const { stdout, result } = await host.run("status");
  expect(stdout).toMatch(/^status: guest-panicked\n/);
  expect(result).toMatchObject({
    state_after: "running",
    qmp: "guest-panicked",
    agent: "answers",
    lock: "snapshot",
    ha: "no",
    process_state: "S",
    age_seconds: expect.any(Number),
  });
});
