/** One line of the guest's journal. */
export interface Entry {
  readonly at: Date;
  /** Counts boots from 0. */
  readonly boot: number;
  /** null: the kernel's own. */
  readonly unit: string | null;
  readonly ident: string;
  readonly pid: number | null;
  /** As in syslog: 0 emerg ... 3 err, 4 warning, 6 info. */
  readonly priority: number;
  readonly text: string;
}

/** The oldest go first. */
const entriesMax = 5_000;

export class Journal {
  readonly #entries: Entry[] = [];

  add(...entries: readonly Entry[]): void {
    this.#entries.push(...entries);
    if (this.#entries.length > entriesMax) this.#entries.splice(0, this.#entries.length - entriesMax);
  }

  select(matches: (entry: Entry) => boolean): Entry[] {
    return this.#entries.filter(matches).toSorted((a, b) => a.at.getTime() - b.at.getTime());
  }
}

/** `Nov 20 10:12:22 devvm postgresql@15-main[812]: …`, as journalctl's short form. */
export function shortLine({ at, ident, pid, text }: Entry): string {
  return `${stamp(at)} devvm ${ident}${pid === null ? "" : `[${pid}]`}: ${text}`;
}

/** The guest keeps UTC. */
export function stamp(at: Date): string {
  const [, month, day, time] = /^\w+, (\d+) (\w+) \d+ ([\d:]+)/.exec(at.toUTCString())!.slice(0, 4);
  return `${day} ${month} ${time}`;
}

export function kernelLine(at: Date, boot: number, text: string, priority = 6): Entry {
  return { at, boot, unit: null, ident: "kernel", pid: null, priority, text };
}

/** The kernel's report of an out-of-memory kill, as it looks in life. */
export function oomKill(at: Date, boot: number, pid: number): Entry[] {
  return [
    kernelLine(
      at,
      boot,
      "node invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
      4,
    ),
    kernelLine(at, boot, "Mem-Info:", 4),
    kernelLine(at, boot, "active_anon:214 inactive_anon:931207 isolated_anon:0 free:21344 free_pcp:112", 4),
    kernelLine(
      at,
      boot,
      `oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/orders-api.service,task=node,pid=${pid},uid=998`,
      6,
    ),
    kernelLine(
      at,
      boot,
      `Out of memory: Killed process ${pid} (node) total-vm:4218844kB, anon-rss:2718440kB, file-rss:1284kB, shmem-rss:0kB, UID:998 pgtables:7012kB oom_score_adj:0`,
      3,
    ),
    kernelLine(
      new Date(at.getTime() + 210),
      boot,
      `oom_reaper: reaped process ${pid} (node), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB`,
      6,
    ),
  ];
}
