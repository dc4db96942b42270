import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync, watch } from "node:fs";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { endProcesses } from "../../demo/processes.ts";
import { hostResult, type HostReport } from "../../src/protocol/outcome.ts";

export const breakglassHost = join(import.meta.dirname, "../../host/breakglass-host");

/** As qm tells it: the name of this node, without its domain. */
const node = hostname().split(".")[0]!;
/** Every wait as long as it is on a real host: some minutes a test. */
const unscaled = process.env["BREAKGLASS_UNSCALED"] === "1";
/** Ends a test that hangs; it times nothing. */
export const testTimeout = unscaled ? 900_000 : 60_000;

/** What may go wrong with a qm verb; see test/host/qm. */
export type VerbFault = "hang" | "lie" | "gate" | `fail ${string}` | `fail-once ${string}`;
/** What may be wrong with the machine; see test/host/qemu. */
export type MachineFault =
  | "frozen"
  | "throttled"
  | "silent"
  | "qmpstatus"
  | "ignore-quit"
  | "ignore-term"
  | "hung-storage"
  | "jobs"
  | "screendump";

export interface HostOptions {
  /** Thousandths of the forced command's limits: real ones, save where a test is about reaching one. */
  readonly scale?: number;
  /** Thousandths of what it merely waits between two acts. */
  readonly pauses?: number;
  /** Thousandths of qm's waits. */
  readonly qmScale?: number;
}

/** A folder with a qm of its own (test/host/qm) over a dummy QEMU, and the real forced command pointed at it. */
export async function makeHost({ scale = 1000, pauses = 20, qmScale = 20 }: HostOptions = {}) {
  const dir = await mkdtemp(join(tmpdir(), "breakglass-host-test-"));
  const file = (name: string) => join(dir, name);
  const config = file("conf");
  for (const name of ["qm", "qemu"]) await copyFile(join(import.meta.dirname, name), file(name));
  await writeFile(file("qm-scale"), String(unscaled ? 1000 : qmScale));
  await writeFile(
    config,
    [
      `qm=${file("qm")}`,
      `pidfile=${file("%s.pid")}`,
      `qmp=${file("%s.qmp")}`,
      `nodes=${file("nodes")}`,
      `run=${file("run")}`,
      `state=${file("state")}`,
      `log=${file("log")}`,
      `scale=${unscaled ? 1000 : scale}`,
      `pauses=${unscaled ? 1000 : pauses}`,
      "",
    ].join("\n"),
  );
  const text = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), "utf8") : "");
  const put = async (name: string, words: string) => {
    await mkdir(dirname(file(name)), { recursive: true });
    await writeFile(file(name), words);
  };
  /** What qm has started and still lives, known by pid and time of birth: a worker of qm bears no name of ours. */
  const started = () =>
    text("processes")
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([pid, born]) => lives(Number(pid)) && bornAt(Number(pid)) === born)
      .map(([pid]) => Number(pid));
  const pid = (vmid = 102) => Number(text(`${vmid}.pid`).trim() || Number.NaN);
  const machineConf = (vmid: number, on = node) => `nodes/${on}/qemu-server/${vmid}.conf`;
  for (const vmid of [102, 1021]) await put(machineConf(vmid), machine);

  return {
    dir,
    file,
    config,
    node,
    text,
    pid,
    /** The machine's QMP socket. */
    qmp: (vmid = 102) => file(`${vmid}.qmp`),
    /** What qm was asked to do to the power, in order. */
    powerCalls: () =>
      text("calls")
        .split("\n")
        .filter((line) => /^(stop|start|reset) /.test(line)),
    /** The stand-in itself, as a person on the host would call it. */
    qm: (...words: string[]) =>
      ended(spawn(file("qm"), words, { stdio: ["ignore", "pipe", "pipe"], env: {} })),
    fault: (verb: string, fault: VerbFault) => put(`on-${verb}`, fault),
    mend: (verb: string) => rm(file(`on-${verb}`), { force: true }),
    openGate: (verb: string) => put(`go-${verb}`, ""),
    /** Some faults say more than that they are there: `qmpstatus` holds a word. */
    machineFault: (fault: MachineFault, words = "") => put(fault, words),
    mendMachine: (fault: MachineFault) => rm(file(fault), { force: true }),
    /** SIGSTOP to the machine's process: QMP is silent then, and qm says "running". */
    freeze: async (vmid = 102) => {
      process.kill(pid(vmid), "SIGSTOP");
      await until(dir, () => /\) T /.test(readFileSync(`/proc/${pid(vmid)}/stat`, "latin1")));
    },
    thaw: (vmid = 102) => process.kill(pid(vmid), "SIGCONT"),
    /** `lock: backup` in the machine's configuration, for example. */
    configure: (line: string, vmid = 102) => put(machineConf(vmid), `${text(machineConf(vmid))}${line}\n`),
    /** The machine's configuration lies on another node then. */
    moveTo: async (other: string, vmid = 102) => {
      await put(machineConf(vmid, other), text(machineConf(vmid)));
      await rm(file(machineConf(vmid)));
    },
    /** start and stop are only queued then; carried out promptly, or never. */
    manageByHa: async (does: "carries-out" | "nothing", vmid = 102) => {
      await put("ha/resources.cfg", `vm: ${vmid}\n\tstate started\n`);
      if (does === "carries-out") await put("ha/carries-out", "");
    },
    /** Somebody else's qm holds the machine's lock file, until what this answers is called. */
    holdConfigLock: async (vmid = 102) => {
      const path = file(`lock-${vmid}.conf`);
      const hold = 'open my $f, ">>", $ARGV[0]; flock $f, 2; $| = 1; print "held\\n"; <STDIN>';
      const holder = spawn("perl", ["-e", hold, path], { stdio: ["pipe", "pipe", "ignore"] });
      await new Promise((resolve) => holder.stdout.once("data", resolve));
      return () => {
        holder.stdin.end();
        return new Promise((resolve) => holder.once("close", resolve));
      };
    },
    /** Resolves once the named file holds `part`. */
    saw: (name: string, part: string) => until(dir, () => text(name).includes(part)),
    run: (command: string | Buffer, vmids: readonly (number | string)[] = [102]) =>
      finished(startHost(command, ["--config", config, ...vmids.map(String)])),
    /** Ends the jobs that still run, then what qm and its machines left behind, and takes the folder away. */
    async end() {
      await endProcesses((words) => words.includes(config));
      for (let left = started(); left.length > 0; left = started()) left.forEach(kill);
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

const machine = [
  "agent: 1",
  "cores: 2",
  "memory: 4096",
  "name: devvm",
  "scsi0: local-lvm:vm-102-disk-0,size=20G",
  "",
].join("\n");

export type Host = Awaited<ReturnType<typeof makeHost>>;

export interface Ended extends HostReport {
  readonly result: Readonly<Record<string, unknown>>;
  readonly machine: readonly Readonly<Record<string, unknown>>[];
}

/** As sshd starts it. The words go through perl, since Node can put no bytes but UTF-8 into an environment. */
export function startHost(command: string | Buffer, args: readonly string[]): ChildProcess {
  const child = spawn(
    "perl",
    ["-e", "undef $/; $ENV{SSH_ORIGINAL_COMMAND} = <STDIN>; exec @ARGV", "--", breakglassHost, ...args],
    {
      stdio: ["pipe", "pipe", "pipe"],
      env: { PATH: "/usr/bin:/bin", BASH_ENV: "/nonexistent", "BASH_FUNC_parse%%": "() { :; }" },
    },
  );
  child.stdin.end(command);
  return child;
}

export async function finished(child: ChildProcess): Promise<Ended> {
  const report = await ended(child);
  return { ...report, ...machineLines(report.stdout) };
}

function ended(child: ChildProcess): Promise<HostReport> {
  let stdout = "";
  let stderr = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exit_code) => resolve({ exit_code, stdout, stderr }));
  });
}

function machineLines(stdout: string) {
  const machine = stdout
    .split("\n")
    .filter((line) => line.startsWith("BG1 "))
    .map((line) => JSON.parse(line.slice(4)) as Record<string, unknown>);
  return { machine, result: (hostResult(stdout) ?? {}) as Record<string, unknown> };
}

/** Alive and no zombie: where nobody reaps orphans a killed process stays. */
export function lives(pid: number): boolean {
  return /^[^ZX]/.test(statOf(pid));
}

/** When a process was started, in ticks since the machine's boot. */
function bornAt(pid: number): string | undefined {
  return statOf(pid).split(" ")[19];
}

/** What /proc says of a process, from its state on; empty when there is none. */
function statOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /s, "");
  } catch {
    return "";
  }
}

export function kill(pid: number): void {
  // Some pid files of these tests name what must never be ended.
  if (pid > 1 && lives(pid)) process.kill(pid, "SIGKILL");
}

/** Waits for something in a folder to become true; looked at whenever a file in it changes. */
export function until(dir: string, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!holds()) return;
      watcher.close();
      clearInterval(again);
      resolve();
    };
    const watcher = watch(dir, { recursive: false }, look);
    // A change between two looks may be told too early.
    const again = setInterval(look, 100);
    look();
  });
}
