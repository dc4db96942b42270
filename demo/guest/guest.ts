import { debugLog, forgedLine, initialFiles } from "./contents.ts";
import { Disk } from "./disk.ts";
import { Journal, kernelLine, oomKill } from "./journal.ts";
import { database, databaseNeedsBytes, logWriter, makeUnits, unitName, type Unit } from "./units.ts";

/** Whose shell it is. Root may do everything; the other owns nothing and reads logs (groups adm, systemd-journal). */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
}

export const memoryTotalKb = 4_018_220;
export const swapTotalKb = 1_048_572;
const kernelKb = 301_500;
const cacheKb = 418_200;

/** Everything that the simulated shell can see or change. Nothing here touches the machine that it runs on. */
export class Guest {
  readonly disk: Disk;
  readonly units = makeUnits();
  readonly journal = new Journal();
  bootId = "";
  bootedAt = new Date(0);
  boots = -1;
  swapUsedKb = 0;
  #nextPid = 300;
  readonly #now: () => Date;

  constructor(now: () => Date = () => new Date()) {
    this.#now = now;
    this.disk = new Disk(initialFiles(now()), debugLog);
  }

  now(): Date {
    return this.#now();
  }

  /** A boot: what is on the disk is as it was, everything else is new. Services come up as far as they can. */
  boot({ bootId, at }: { readonly bootId: string; readonly at: Date }): void {
    this.bootId = bootId;
    this.bootedAt = at;
    this.boots++;
    this.swapUsedKb = 0;
    this.#nextPid = 300;
    const kernel = (ms: number, text: string) => kernelLine(new Date(at.getTime() + ms), this.boots, text);
    this.journal.add(
      kernel(
        0,
        "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1",
      ),
      kernel(
        2,
        "Command line: BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64 root=UUID=6a1c0f6e-5f4e-4c1e-9b1b-2a5d1f0c7e11 ro quiet",
      ),
      kernel(10, "Memory: 4018220K/4193788K available"),
      kernel(410, "EXT4-fs (sda1): recovery complete"),
      kernel(412, "EXT4-fs (sda1): mounted filesystem with ordered data mode. Quota mode: none."),
    );
    for (const unit of this.units.values()) this.#bring(unit, new Date(at.getTime() + 900));
  }

  /** The trouble that the demo begins with: a log fills the disk, the database died of it, and earlier memory ran out. */
  fallIll(): void {
    const now = this.now().getTime();
    const ago = (minutes: number) => new Date(now - minutes * 60_000);
    this.disk.fill(this.now());
    this.journal.add(
      ...oomKill(ago(133), this.boots, 2213),
      this.#line(
        logWriter,
        "systemd",
        1,
        4,
        "orders-api.service: A process of this unit has been killed by the OOM killer.",
        ago(133),
      ),
      this.#line(logWriter, "systemd", 1, 4, "orders-api.service: Failed with result 'oom-kill'.", ago(133)),
      this.#line(logWriter, "systemd", 1, 6, "Started orders-api.service - Orders API.", ago(132.9)),
      this.#line(logWriter, "node", 2391, 6, "orders-api listening on :3000, log level debug", ago(132.8)),
    );
    this.journal.add(this.#line("nginx.service", "nginx", 611, 6, forgedLine, ago(38)));
    this.swapUsedKb = 611_840;
    this.units.get(logWriter)!.pid = 2391;
    this.units.get(logWriter)!.since = ago(132.9);
    this.#failDatabase(this.units.get(database)!, ago(41), 1187);
  }

  restart(unit: Unit): boolean {
    this.stop(unit);
    return this.start(unit);
  }

  /** False when it failed; why stands in its journal. */
  start(unit: Unit): boolean {
    if (unit.active === "active") return true;
    this.#bring(unit, this.now());
    return unit.active === ("active" as Unit["active"]);
  }

  stop(unit: Unit): void {
    if (unit.active !== "active") return;
    const at = this.now();
    unit.active = "inactive";
    unit.sub = "dead";
    unit.pid = null;
    unit.since = at;
    this.journal.add(
      this.#line(unit.name, "systemd", 1, 6, `Stopped ${unit.name} - ${unit.description}.`, at),
    );
    if (unit.name === logWriter) this.disk.setWriter(false, at);
  }

  unit(word: string): Unit | undefined {
    return this.units.get(unitName(word));
  }

  memoryKb(): { used: number; free: number; cache: number; available: number } {
    let used = kernelKb;
    for (const { pid, rssKb } of this.units.values()) if (pid !== null) used += rssKb;
    const free = memoryTotalKb - used - cacheKb;
    return { used, free, cache: cacheKb, available: free + Math.floor(cacheKb * 0.8) };
  }

  load(): [number, number, number] {
    const minutes = (this.now().getTime() - this.bootedAt.getTime()) / 60_000;
    const settled = 1 - Math.exp(-minutes / 5);
    const wobble = Math.sin(this.now().getTime() / 17_000) * 0.09;
    return [0.38 + wobble, 0.31 * settled + 0.04, 0.27 * settled + 0.02];
  }

  nextPid(): number {
    return this.#nextPid++;
  }

  #bring(unit: Unit, at: Date): void {
    const pid = this.nextPid();
    if (unit.name === database && this.disk.available(at) < databaseNeedsBytes) {
      this.#failDatabase(unit, at, pid);
      return;
    }
    unit.active = "active";
    unit.sub = "running";
    unit.pid = pid;
    unit.since = at;
    if (unit.name === database)
      this.journal.add(
        this.#line(
          unit.name,
          "postgresql@15-main",
          pid,
          6,
          "LOG:  database system is ready to accept connections",
          at,
        ),
      );
    this.journal.add(
      this.#line(unit.name, "systemd", 1, 6, `Started ${unit.name} - ${unit.description}.`, at),
    );
    if (unit.name === logWriter) this.disk.setWriter(true, at);
  }

  #failDatabase(unit: Unit, at: Date, pid: number): void {
    unit.active = "failed";
    unit.sub = "failed";
    unit.pid = null;
    unit.since = at;
    const own = (priority: number, text: string) =>
      this.#line(unit.name, "postgresql@15-main", pid, priority, text, at);
    const systemd = (priority: number, text: string) =>
      this.#line(unit.name, "systemd", 1, priority, text, at);
    this.journal.add(
      systemd(6, `Starting ${unit.name} - ${unit.description}...`),
      own(3, `PANIC:  could not write to file "pg_wal/xlogtemp.${pid}": No space left on device`),
      own(3, "LOG:  startup process was terminated by signal 6: Aborted"),
      own(3, "pg_ctl: could not start server"),
      systemd(
        5,
        `${unit.name}: Can't open PID file /run/postgresql/15-main.pid (yet?) after start: No such file or directory`,
      ),
      systemd(4, `${unit.name}: Failed with result 'protocol'.`),
      systemd(3, `Failed to start ${unit.name} - ${unit.description}.`),
    );
  }

  #line(unit: string, ident: string, pid: number, priority: number, text: string, at: Date) {
    return { at, boot: this.boots, unit, ident, pid, priority, text };
  }
}
