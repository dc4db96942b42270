import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { appendFile, mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
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
  type HostOptions,
} from "./host.ts";
import { ended, jobId, journalOf, killWorker, reached, wholeSteps } from "./jobs.ts";

vi.setConfig({ testTimeout });

let host: Host;
beforeEach(async () => {
  host = await makeHost();
});
afterEach(() => host.end());

const afresh = async (options: HostOptions) => {
  await host.end();
  host = await makeHost(options);
};
const hostLib = join(dirname(breakglassHost), "lib");
const begin = (command: string) => startHost(command, ["--config", host.config, "102"]);
/** The cycle pauses: its machine is off, and no qm is under way. */
const betweenStarts = () => host.saw(`run/jobs/${jobId(1)}/steps`, "Start 1 of 3 failed");
const starts = () => host.powerCalls().filter((call) => call === "start 102").length;
const rewriteJournal = (id: string, change: (line: string) => string) => {
  const path = host.file(`run/jobs/${id}/journal`);
  return writeFile(path, readFileSync(path, "utf8").split("\n").map(change).join("\n"));
};

describe("one id, one job", () => {
  it("the same id sent twice at once acts once, and both hear all of it", async () => {
    const calls = [1, 2].map(() => host.run(`v2 start ${jobId(1)}`));
    const [first, second] = (await Promise.all(calls)) as [
      Awaited<(typeof calls)[0]>,
      Awaited<(typeof calls)[0]>,
    ];
    expect(first).toMatchObject({ exit_code: 0, stderr: "" });
    expect(second.stdout).toBe(first.stdout);
    wholeSteps(first);
    expect(host.powerCalls()).toEqual(["start 102"]);
  });

  it("sent again later, as after a lost reply, it answers the same and does nothing", async () => {
    const first = await host.run(`v2 cycle ${jobId(1)}`);
    expect(await host.run(`v2 cycle ${jobId(1)}`)).toEqual(first);
    expect(host.powerCalls()).toEqual(["start 102"]);
  });

  it.each([
    ["verb", "v2 stop", 102],
    ["machine", "v2 start", 1021],
  ])("with another %s it is refused, and nothing is done", async (_, words, vmid) => {
    await host.run(`v2 start ${jobId(1)} 102`, [102, 1021]);
    const refused = await host.run(`${words} ${jobId(1)} ${vmid}`, [102, 1021]);
    expect(refused).toMatchObject({
      exit_code: 2,
      stderr: "",
      result: { result: "refused", changed: false },
    });
    expect(host.powerCalls()).toEqual(["start 102"]);
  });

  it("two cycles from two callers: the second is told at once who owns the machine", async () => {
    await host.run("start");
    await host.fault("stop", "gate");
    const first = finished(begin(`v2 cycle ${jobId(1)}`));
    await host.saw("calls", "stop 102");

    const second = await host.run(`v2 cycle ${jobId(2)}`);
    expect(second).toMatchObject({
      exit_code: 75,
      result: { result: "busy", holder: jobId(1), changed: false },
    });
    // Reading is free, and another machine is another lock.
    expect((await host.run("status")).exit_code).toBe(0);
    expect((await host.run("start 1021", [102, 1021])).exit_code).toBe(0);

    await host.openGate("stop");
    expect((await first).exit_code).toBe(0);
    expect(host.powerCalls().filter((call) => call.endsWith(" 102"))).toEqual([
      "start 102",
      "stop 102",
      "start 102",
    ]);
    // What was busy stays what it was; a new job finds the machine free.
    expect((await host.run(`v2 cycle ${jobId(2)}`)).exit_code).toBe(75);
    expect((await host.run("cycle")).exit_code).toBe(0);
  });

  it("gives the lock to nobody it starts: a machine that lives on holds nothing", async () => {
    await host.run("start");
    const held = readdirSync(`/proc/${host.pid()}/fd`).length;
    expect(held).toBeGreaterThan(0);
    const files = spawnSync("ls", ["-l", `/proc/${host.pid()}/fd`], { encoding: "utf8" }).stdout;
    expect(files).not.toContain(host.file("run"));
    expect((await host.run("stop")).exit_code).toBe(0);
  });
});

describe("attach", () => {
  it("reads a job again from a number on, after its end", async () => {
    const all = wholeSteps(await host.run(`v2 start ${jobId(1)}`));
    const rest = await host.run(`v2 attach ${jobId(1)} 3`);
    expect(rest).toMatchObject({ exit_code: 0, stderr: "" });
    expect(wholeSteps(rest, 3)).toEqual(all.slice(3));
    expect((await host.run(`v2 attach ${jobId(1)} 999`)).machine).toEqual(all.slice(-1));
  });

  it("follows a job that is under way to its end, with its code", async () => {
    await host.fault("start", "gate");
    const first = finished(begin(`v2 start ${jobId(1)}`));
    await host.saw("calls", "start 102");
    const second = begin(`v2 attach ${jobId(1)} 0`);
    // It has caught up, and waits with the job.
    await new Promise<void>((resolve) => {
      let said = "";
      second.stdout!.on("data", (text: Buffer) => {
        if ((said += text.toString()).includes('"phase":"starting"')) resolve();
      });
    });
    const attached = finished(begin(`v2 attach ${jobId(1)} 0`));
    await host.openGate("start");
    expect((await attached).stdout).toBe((await first).stdout);
  });

  it("says of a job that never arrived that it did not, and since when it would know", async () => {
    await host.run("status");
    const absent = await host.run(`v2 attach ${jobId(9)} 0`);
    expect(absent).toMatchObject({ exit_code: 9, result: { result: "absent", code: 9 } });
    const { journal_seconds } = absent.result as { journal_seconds: number };
    expect(journal_seconds).toBeGreaterThanOrEqual(0);
    const { result } = await host.run("v2 hello");
    expect(result).toMatchObject({
      version: 2,
      jobs: true,
      vmids: [102],
      journal_seconds: expect.any(Number),
    });
    expect(result["journal_seconds"]).toBeGreaterThanOrEqual(journal_seconds);
  });

  it("knows nothing of the jobs of other keys' machines", async () => {
    await host.run(`v2 start ${jobId(1)}`);
    expect(await host.run(`v2 attach ${jobId(1)} 0`, [1021])).toMatchObject({
      exit_code: 9,
      result: { result: "absent" },
    });
  });

  it("says nothing of a job's end when it cannot follow it, and the job does not notice", async () => {
    // No `tail` is found.
    const env = { PATH: "/nonexistent", SSH_ORIGINAL_COMMAND: `v2 start ${jobId(1)}` };
    const words = [
      `-I${hostLib}`,
      "--",
      `${hostLib}/main.pl`,
      host.config,
      "start",
      "102",
      jobId(1),
      "",
      "102",
    ];
    const lost = await finished(spawn("/usr/bin/perl", words, { env, stdio: ["ignore", "pipe", "pipe"] }));
    expect(lost).toMatchObject({ exit_code: 255, stdout: "", result: {} });
    expect(lost.stderr).toMatch(/^[^\n]*Attach to it again\.\n$/);
    const job = await host.run(`v2 attach ${jobId(1)} 0`);
    expect(job).toMatchObject({ exit_code: 0, result: { result: "done", state_after: "running" } });
    wholeSteps(job);
  });

  it("ends with its caller, and the job does not notice", async () => {
    await host.fault("start", "gate");
    const caller = begin(`v2 start ${jobId(1)}`);
    const gone = new Promise((resolve) => caller.once("exit", resolve));
    await host.saw("calls", "start 102");
    for (const pipe of [caller.stdout!, caller.stderr!]) pipe.destroy();
    await gone;
    await host.openGate("start");
    expect((await host.run(`v2 attach ${jobId(1)} 0`)).result).toMatchObject({
      result: "done",
      state_after: "running",
    });
  });
});

describe("a worker that dies", () => {
  it.each([
    ["stop", "stopping", "stop"],
    ["reset", "resetting", "reset"],
  ] as const)(
    "in a %s, while %s: the job is unknown, and whoever follows is told",
    async (verb, phase, gated) => {
      await host.run("start");
      await host.fault(gated, "gate");
      const call = finished(begin(`v2 ${verb} ${jobId(1)}`));
      await host.saw("calls", `${gated} 102`);
      await killWorker(host, jobId(1));
      const told = await call;
      expect(told).toMatchObject({ exit_code: 5, result: { result: "unknown", state_before: "running" } });
      expect(told.result["text"]).toContain(`'${phase}'`);
      wholeSteps(told);
      // It is settled: everybody hears the same, and nothing is done again.
      expect((await host.run(`v2 ${verb} ${jobId(1)}`)).stdout).toBe(told.stdout);
      expect(host.powerCalls()).toEqual(["start 102", `${gated} 102`]);
    },
  );

  it("in a cycle, while its qm stop goes on: that one is waited for, and the same job starts the machine", async () => {
    await host.run("start");
    await host.fault("stop", "gate");
    const call = finished(begin(`v2 cycle ${jobId(1)}`));
    await host.saw("calls", "stop 102");
    await killWorker(host, jobId(1));
    await host.saw(`run/jobs/${jobId(1)}/steps`, "another one waits");
    await host.openGate("stop");
    const job = await call;
    expect(job).toMatchObject({
      exit_code: 0,
      result: { result: "done", state_before: "running", state_after: "running", changed: true },
    });
    wholeSteps(job);
    expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
  });

  it("in a cycle, while stopping, with no qm stop left and the machine running: unknown, and nothing more is done", async () => {
    await afresh({ scale: 9999 });
    await host.run("start");
    // It ends at once, and the worker goes on waiting for the machine to go.
    await host.fault("stop", "lie");
    const call = finished(begin(`v2 cycle ${jobId(1)}`));
    await host.saw("calls", "stop 102");
    await killWorker(host, jobId(1));
    const job = await call;
    expect(job).toMatchObject({
      exit_code: 5,
      result: { result: "unknown", state_after: "running", changed: false },
    });
    expect(job.result["text"]).toContain("'stopping'");
    wholeSteps(job);
    expect((await host.run(`v2 cycle ${jobId(1)}`)).stdout).toBe(job.stdout);
    expect(host.powerCalls()).toEqual(["start 102", "stop 102"]);
  });

  it("in a start, while starting: unknown, and nobody starts it for them", async () => {
    await host.fault("start", "gate");
    const call = finished(begin(`v2 start ${jobId(1)}`));
    await host.saw("calls", "start 102");
    await killWorker(host, jobId(1));
    expect(await call).toMatchObject({ exit_code: 5, result: { result: "unknown" } });
    expect(starts()).toBe(1);
  });

  it.each(
    (["start", "stop", "reset", "cycle"] as const).flatMap((verb) =>
      (["asked", "forensics"] as const).map((phase) => [verb, phase] as const),
    ),
  )("in a %s, in phase %s: nothing was done, and it says unknown", async (verb, phase) => {
    if (verb !== "start") await host.run("start");
    const calls = host.powerCalls();
    // It gets no further than this, however slow we are.
    await host.fault(verb === "cycle" ? "stop" : verb, "gate");
    // A log that nobody reads holds the first phase for its second.
    if (phase === "asked") {
      await rm(host.file("log"), { force: true });
      execFileSync("mkfifo", [host.file("log")]);
    }
    const call = finished(begin(`v2 ${verb} ${jobId(1)}`));
    await reached(host, jobId(1), phase);
    // Stopped first, so that it stays where it is while we look where that is.
    process.kill(journalOf(host, jobId(1)).at(-1)!.pid, "SIGSTOP");
    const diedIn = journalOf(host, jobId(1)).at(-1)!.phase;
    await killWorker(host, jobId(1));
    const told = await call;
    expect(told).toMatchObject({ exit_code: 5, result: { result: "unknown" } });
    expect(told.result["text"]).toContain(`'${diedIn}'`);
    if (diedIn === phase) expect(host.powerCalls()).toEqual(calls);
  });

  it("in a cycle, between stop and start: any next call has the machine started, once, by the same job", async () => {
    await host.run("start");
    await host.fault("start", "fail no space left on device");
    const call = begin(`v2 cycle ${jobId(1)}`);
    const told = finished(call);
    await betweenStarts();
    call.kill("SIGKILL");
    await killWorker(host, jobId(1));
    await told;
    await host.mend("start");
    const before = starts();
    const looks = await Promise.all([1, 2, 3, 4].map(() => host.run("status")));
    for (const look of looks) expect(look.exit_code).toBe(0);
    const job = await host.run(`v2 attach ${jobId(1)} 0`);
    expect(job).toMatchObject({
      exit_code: 0,
      result: { result: "done", state_after: "running", changed: true },
    });
    wholeSteps(job);
    expect(starts()).toBe(before + 1);
    expect(lives(host.pid())).toBe(true);
  });

  it("in a cycle, while its qm start goes on: that one is waited for, and there is no second", async () => {
    await host.run("start");
    await host.fault("start", "gate");
    const call = finished(begin(`v2 cycle ${jobId(1)}`));
    await until(host.dir, () => starts() === 2);
    await killWorker(host, jobId(1));
    await host.saw(`run/jobs/${jobId(1)}/steps`, "another one goes on");
    await host.openGate("start");
    const job = await call;
    expect(job).toMatchObject({ exit_code: 0, result: { result: "done", state_after: "running" } });
    wholeSteps(job);
    expect(starts()).toBe(2);
  });

  describe("in a cycle, with the machine off", () => {
    beforeEach(async () => {
      await host.run("start");
      await host.fault("start", "fail no space left on device");
      const call = begin(`v2 cycle ${jobId(1)}`);
      const gone = finished(call);
      await betweenStarts();
      call.kill("SIGKILL");
      await killWorker(host, jobId(1));
      await gone;
      await host.mend("start");
    });
    const settled = () => host.run(`v2 attach ${jobId(1)} 0`);
    const done = { exit_code: 0, result: { result: "done", state_after: "running" } };
    const unknown = { exit_code: 5, result: { result: "unknown", state_after: "stopped" } };

    it("whoever attaches has it started", async () => expect(await settled()).toMatchObject(done));

    it("ten minutes later nobody starts it any more", async () => {
      await rewriteJournal(jobId(1), (line) =>
        line.replace(/"uptime":(\d+)/, (_, uptime) => `"uptime":${Number(uptime) - 601}`),
      );
      expect((await host.run("status")).result).toMatchObject({ state_after: "stopped" });
      expect(await settled()).toMatchObject(unknown);
      expect(starts()).toBe(2);
    });

    it("nor ten minutes after it was about to be off, whoever has tried since", async () => {
      await rewriteJournal(jobId(1), (line) =>
        line.includes('"phase":"stopping"')
          ? line.replace(/"uptime":(\d+)/, (_, uptime) => `"uptime":${Number(uptime) - 601}`)
          : line,
      );
      expect(await settled()).toMatchObject(unknown);
      expect(starts()).toBe(2);
    });

    it("after the host was started again nobody does", async () => {
      await rewriteJournal(jobId(1), (line) => line.replace(/"boot_id":"[^"]+"/, `"boot_id":"${jobId(7)}"`));
      expect(await settled()).toMatchObject(unknown);
      expect(starts()).toBe(2);
    });

    it.each([
      ["forward", "2099-01-01T00:00:00.000Z"],
      ["back", "1999-01-01T00:00:00.000Z"],
    ])("whatever the host's clock says, which jumped %s", async (_, ts) => {
      // All that was written by that clock: the times in the journal, and those of the files.
      await rewriteJournal(jobId(1), (line) => line.replace(/"ts":"[^"]+"/, `"ts":"${ts}"`));
      for (const name of ["journal", "steps", "errors"])
        await utimes(host.file(`run/jobs/${jobId(1)}/${name}`), new Date(ts), new Date(ts));
      await utimes(host.file("run/lock-102"), new Date(ts), new Date(ts));
      expect(await settled()).toMatchObject(done);
    });

    it("one that another job owns by now is left to that", async () => {
      const other = finished(begin(`v2 start ${jobId(2)}`));
      const [first, second] = await Promise.all([settled(), other]);
      // One of the two has started it, and only one.
      expect([first.exit_code, second.exit_code]).toContain(0);
      expect(lives(host.pid())).toBe(true);
      expect(starts()).toBe(3);
    });

    it("half a step that it left is not heard", async () => {
      await appendFile(host.file(`run/jobs/${jobId(1)}/steps`), 'Half a line\nBG1 {"seq":99,"res');
      const job = await settled();
      expect(job).toMatchObject(done);
      expect(job.stdout).not.toContain("Half a line");
      wholeSteps(job);
    });
  });
});

describe("after a crash of the host", () => {
  const forgets = () => rm(host.file("run"), { recursive: true });

  it("the disk tells what became of a job that had ended", async () => {
    const before = await host.run(`v2 start ${jobId(1)}`);
    await forgets();
    const after = await host.run(`v2 attach ${jobId(1)} 0`);
    expect(after).toMatchObject({ exit_code: 0, result: before.result });
  });

  it("and of one that had not, in which phase it was; the same id does nothing again", async () => {
    await host.fault("start", "gate");
    const call = begin(`v2 start ${jobId(1)}`);
    const gone = finished(call);
    await host.saw("calls", "start 102");
    call.kill("SIGKILL");
    await killWorker(host, jobId(1));
    await gone;
    await forgets();
    const attached = await host.run(`v2 attach ${jobId(1)} 4`);
    expect(attached).toMatchObject({ exit_code: 5, result: { result: "unknown", seq: 4 } });
    expect(attached.result["text"]).toContain("'starting'");
    expect((await host.run(`v2 start ${jobId(1)}`)).exit_code).toBe(5);
    expect(await host.run(`v2 stop ${jobId(1)}`)).toMatchObject({ exit_code: 2 });
    expect(starts()).toBe(1);
  });

  it("a journal that is new knows of nothing before it, and says so", async () => {
    await host.run(`v2 start ${jobId(1)}`);
    await forgets();
    await host.run("status");
    const { result } = await host.run(`v2 attach ${jobId(2)} 0`);
    expect(result["journal_seconds"]).toBeLessThan(60);
  });
});

describe("what is kept", () => {
  it("writes every phase down before it enters it, on disk and in memory alike", async () => {
    await host.run("start");
    await host.fault("stop", "gate");
    const call = finished(begin(`v2 cycle ${jobId(1)}`));
    await host.saw("calls", "stop 102");
    const phases = (place: "run" | "state") => journalOf(host, jobId(1), place).map((entry) => entry.phase);
    expect(phases("state")).toEqual(["asked", "forensics", "stopping"]);
    expect(phases("run")).toEqual(["claimed", "asked", "forensics", "stopping"]);
    await host.openGate("stop");
    expect((await call).result).toMatchObject({ durable: true });
    expect(phases("state")).toEqual(["asked", "forensics", "stopping", "off", "starting", undefined]);
    expect(journalOf(host, jobId(1), "state").at(-1)).toMatchObject({ result: "done" });
  });

  it("writes down that the machine is off when it is seen, while qm stop still goes on", async () => {
    await afresh({ scale: 9999 });
    await host.run("start");
    await host.fault("stop", "gate");
    const call = finished(begin(`v2 cycle ${jobId(1)}`));
    await host.saw("calls", "stop 102");
    kill(host.pid());
    await reached(host, jobId(1), "off");
    await host.openGate("stop");
    const told = (await call).machine.flatMap(({ phase }) => (phase === undefined ? [] : [phase]));
    expect(told).toEqual(["asked", "forensics", "stopping", "off", "starting", "running"]);
  });

  it("keeps the whole output of fifty jobs, and of all others the final step", async () => {
    const first = await host.run(`v2 start ${jobId(1)}`);
    for (let n = 100; n < 160; n++) await makeEndedJob(jobId(n), uptime() + 10);
    await host.run(`v2 stop ${jobId(2)}`);
    await ended(host, jobId(2));
    await until(host.dir, () => !existsSync(host.file(`run/jobs/${jobId(1)}/steps`)));
    const again = await host.run(`v2 start ${jobId(1)}`);
    expect(again.machine).toEqual(first.machine.slice(-1));
    expect(again.exit_code).toBe(0);
    expect(starts()).toBe(1);
  });

  it(
    "forgets the oldest beyond ten thousand, and its journal is only as old as what it still knows",
    { timeout: 120_000 },
    async () => {
      await host.run("status");
      // As if this host had run for days.
      execFileSync("touch", ["-d", "@-100000", host.file("run/since")]);
      expect((await host.run("v2 hello")).result).toMatchObject({ journal_seconds: 86_400 });
      const youngestForgotten = uptime() - 100;
      for (let n = 0; n < 10_000; n++) await makeEndedJob(jobId(1000 + n), uptime() - 50);
      await makeEndedJob(jobId(1), youngestForgotten);
      await host.run(`v2 start ${jobId(2)}`);
      await until(host.dir, () => !existsSync(host.file(`run/jobs/${jobId(1)}`)));
      await until(host.dir, () => statSync(host.file("run/since")).mtimeMs / 1000 >= youngestForgotten);
      const { journal_seconds } = (await host.run("v2 hello")).result as { journal_seconds: number };
      expect(journal_seconds).toBeGreaterThanOrEqual(50);
      expect(journal_seconds).toBeLessThanOrEqual(uptime() - youngestForgotten + 1);
    },
  );

  it.skipIf(process.getuid!() !== 0)(
    "knows a job for 24 hours of uptime, and no longer (needs root: a clock of its own)",
    async () => {
      const laterBy = (seconds: number, command: string) =>
        // Another boot-time clock, for the forced command alone.
        spawnSync(
          "unshare",
          ["--time", "--fork", "--boottime", String(seconds), breakglassHost, "--config", host.config, "102"],
          {
            env: { PATH: "/usr/bin:/bin", SSH_ORIGINAL_COMMAND: command },
            encoding: "utf8",
          },
        );
      await host.run(`v2 start ${jobId(1)}`);
      expect(laterBy(86_000, `v2 stop ${jobId(2)}`)).toMatchObject({ status: 0 });
      await until(host.dir, () => journalOf(host, jobId(2), "state").at(-1)?.result !== undefined);
      expect(existsSync(host.file(`run/jobs/${jobId(1)}`))).toBe(true);
      laterBy(2 * 86_400, `v2 stop ${jobId(3)}`);
      await until(host.dir, () => !existsSync(host.file(`run/jobs/${jobId(1)}`)));
    },
  );

  it("takes away what calls that were killed have left behind", async () => {
    await host.run("status");
    // No process has so large a number.
    await writeFile(host.file("run/.screen-102-99999999"), "");
    await mkdir(host.file("run/jobs/.new-99999999"));
    await writeFile(host.file("run/jobs/.new-99999999/alive"), "");
    await host.run("start");
    await until(host.dir, () => !existsSync(host.file("run/jobs/.new-99999999")));
    await until(host.dir, () => !existsSync(host.file("run/.screen-102-99999999")));
  });

  const uptime = () => Math.floor(Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]));
  const makeEndedJob = async (id: string, at: number) => {
    const folder = host.file(`run/jobs/${id}`);
    await mkdir(folder);
    await writeFile(`${folder}/alive`, "");
    await utimes(`${folder}/alive`, at, at);
    await writeFile(`${folder}/steps`, "");
    await writeFile(
      `${folder}/journal`,
      `{"seq":0,"job":"${id}","verb":"stop","vmid":102,"ts":"","result":"done","code":0}\n`,
    );
  };
});
