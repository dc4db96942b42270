import { rename, rm, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { start, type Running } from "../../src/server/process/start.ts";
import type { LineServer } from "./lines.ts";
import { serveQmp } from "./qmp.ts";

/** From power-on to a guest that answers, as a real small Debian takes with a warm cache. */
const bootMs = 2_000;
/** What QEMU needs to appear and to go, so that a cycle is seen to happen. */
const processStartMs = 400;
const processStopMs = 300;
/** A database at work: one disk operation in so long. */
const operationMs = 5;

export interface MachineOptions {
  readonly vmid: number;
  readonly pidFile: string;
  /** Where its monitor listens while it is on. */
  readonly qmpPath: string;
  /** Told of every change; the guest's door opens and closes by it. */
  readonly onChange: (machine: Machine) => void;
  /** A fresh boot of the guest: told before the door opens. */
  readonly onBoot: (boot: { readonly bootId: string; readonly at: Date }) => void;
  /** Shorter in tests that are not about booting. */
  readonly bootMs?: number;
}

/**
 * The simulated VM: power, boot, and the fault of the incident. Its QEMU is a real process (a `sh` that reads a pipe of
 * ours, with QEMU's arguments) so that the real forced command sees a pid file, an argv, a start time, and a death.
 */
export class Machine {
  readonly vmid: number;
  /** Disk I/O stalled inside the process: it goes with that process and with nothing else. */
  wedged = false;
  booted = false;
  #process: Running | null = null;
  /** Settles when the last process is gone, and its pid file and monitor with it. */
  #ended: Promise<void> = Promise.resolve();
  #isOver = false;
  #bootTimer: NodeJS.Timeout | undefined;
  #operations = 48_211;
  #countedAt = Date.now();
  #startedAt = Date.now();
  readonly #options: MachineOptions;

  constructor(options: MachineOptions) {
    this.vmid = options.vmid;
    this.#options = options;
  }

  get pid(): number | null {
    return this.#process?.child.pid ?? null;
  }

  get uptimeSeconds(): number {
    return this.pid === null ? 0 : Math.floor((Date.now() - this.#startedAt) / 1000);
  }

  /** Counts of disk operations: they move while the guest lives, and stand still while its I/O is stalled. */
  get operations(): number {
    const now = Date.now();
    if (this.booted && !this.wedged) this.#operations += Math.floor((now - this.#countedAt) / operationMs);
    this.#countedAt = now;
    return this.#operations;
  }

  /** A machine that has been on for a while: no waits, no boot. */
  async begin(at: Date): Promise<void> {
    await this.#startProcess();
    this.#startedAt = at.getTime();
    this.#boot(at);
  }

  /** Answers false when it is already on. */
  async powerOn(): Promise<boolean> {
    if (this.#process !== null) return false;
    await this.#ended;
    await wait(processStartMs);
    if (this.#isOver) return false;
    await this.#startProcess();
    this.#bootLater();
    return true;
  }

  async powerOff(): Promise<void> {
    const running = this.#process;
    if (running === null) return;
    await wait(processStopMs);
    running.kill("SIGKILL");
    await this.#ended;
  }

  /** The same process goes on. A stalled one does not even notice. Answers false when it is off. */
  reset(): boolean {
    if (this.#process === null) return false;
    if (!this.wedged) {
      this.booted = false;
      this.#options.onChange(this);
      this.#bootLater();
    }
    return true;
  }

  wedge(): boolean {
    if (!this.booted) return false;
    // The counters are brought up to now before they stop.
    void this.operations;
    this.wedged = true;
    this.#options.onChange(this);
    return true;
  }

  async end(): Promise<void> {
    this.#isOver = true;
    this.#process?.kill("SIGKILL");
    await this.#ended;
  }

  async #startProcess(): Promise<void> {
    const { vmid, pidFile, qmpPath } = this.#options;
    const args = ["-id", String(vmid), "-name", "devvm", "-pidfile", pidFile]
      .concat(["-qmp", `unix:${qmpPath},server=on,wait=off`])
      .concat(["-daemonize", "-m", "4096"]);
    const monitor = await serveQmp(qmpPath, this);
    // It ends with its stdin, so that it cannot outlive us whatever becomes of us.
    const running = start({
      file: "/bin/sh",
      args: ["-c", "read -r _", "kvm", ...args],
      env: { PATH: "/usr/bin:/bin" },
      stdin: "pipe",
    });
    running.stdout.resume();
    running.stderr.resume();
    this.#process = running;
    this.#startedAt = Date.now();
    this.#ended = running.exit.then(() => this.#processEnded(monitor));
    await writeFile(`${pidFile}.new`, `${running.child.pid}\n`);
    await rename(`${pidFile}.new`, pidFile);
  }

  /** However it ended: stopped by qm, or killed by the forced command. */
  async #processEnded(monitor: LineServer): Promise<void> {
    clearTimeout(this.#bootTimer);
    this.#process = null;
    this.wedged = false;
    this.booted = false;
    this.#options.onChange(this);
    await monitor.close();
    await rm(this.#options.pidFile, { force: true });
  }

  #bootLater(): void {
    clearTimeout(this.#bootTimer);
    this.#bootTimer = setTimeout(() => this.#boot(new Date()), this.#options.bootMs ?? bootMs);
    this.#bootTimer.unref();
  }

  #boot(at: Date): void {
    this.#options.onBoot({ bootId: randomUUID(), at });
    this.booted = true;
    this.#countedAt = Date.now();
    this.#options.onChange(this);
  }
}

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
