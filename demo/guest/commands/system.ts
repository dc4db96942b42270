import { memoryTotalKb, swapTotalKb, type Account, type Guest } from "../guest.ts";
import { fails, options, prints, printsLines, table, type SimulatedCommand } from "./call.ts";
import { processors } from "./virtual.ts";

export const root: Account = { name: "root", uid: 0, home: "/root" };

const uptime: SimulatedCommand = ({ guest, args }) => {
  if (args.includes("-s")) return prints(`${guest.bootedAt.toISOString().slice(0, 19).replace("T", " ")}\n`);
  if (args.includes("-p"))
    return prints(`up ${sinceBoot(guest).replace(/(\d+):(\d+)/, "$1 hours, $2 minutes")}\n`);
  return prints(`${summary(guest)}\n`);
};

function summary(guest: Guest): string {
  const load = guest.load().map((value) => value.toFixed(2));
  return ` ${guest.now().toISOString().slice(11, 19)} up ${sinceBoot(guest)},  1 user,  load average: ${load.join(", ")}`;
}

function sinceBoot(guest: Guest): string {
  const minutes = Math.floor((guest.now().getTime() - guest.bootedAt.getTime()) / 60_000);
  const days = Math.floor(minutes / 1440);
  const clock = `${String(Math.floor((minutes % 1440) / 60)).padStart(2)}:${String(minutes % 60).padStart(2, "0")}`;
  const rest = minutes % 1440 < 60 ? `${minutes % 60} min` : clock;
  return days === 0 ? rest : `${days} day${days === 1 ? "" : "s"}, ${rest}`;
}

const free: SimulatedCommand = ({ guest, args }) => {
  const { flags } = options(args, "sc");
  const { used, free: unused, cache, available } = guest.memoryKb();
  const amount = (kb: number) => {
    if (flags.has("m")) return String(Math.floor(kb / 1024));
    if (flags.has("g")) return String(Math.floor(kb / 1_048_576));
    if (!flags.has("h")) return String(kb);
    return kb >= 1_048_576 ? `${(kb / 1_048_576).toFixed(1)}Gi` : `${Math.round(kb / 1024)}Mi`;
  };
  const swap = guest.swapUsedKb;
  return prints(
    table(
      [
        ["", "total", "used", "free", "shared", "buff/cache", "available"],
        ["Mem:", ...[memoryTotalKb, used, unused, 9_812, cache, available].map(amount)],
        ["Swap:", ...[swapTotalKb, swap, swapTotalKb - swap].map(amount), "", "", ""],
      ].map((row) => row.map((cell, column) => (column === 0 ? cell : cell.padStart(11)))),
    ),
  );
};

interface Process {
  readonly user: string;
  readonly pid: number;
  readonly ppid: number;
  readonly rssKb: number;
  readonly cpu: number;
  readonly since: Date;
  readonly command: string;
}

function processes(guest: Guest): Process[] {
  const at = guest.bootedAt;
  const kernel = [
    "kthreadd",
    "rcu_preempt",
    "kworker/0:1-events",
    "kworker/1:2-events",
    "ksoftirqd/0",
    "jbd2/sda1-8",
    "kswapd0",
  ];
  const units = [...guest.units.values()].filter(({ pid }) => pid !== null);
  return [
    { user: "root", pid: 1, ppid: 0, rssKb: 12_204, cpu: 0, since: at, command: "/sbin/init" },
    ...kernel.map((name, n) => ({
      user: "root",
      pid: n + 2,
      ppid: n === 0 ? 0 : 2,
      rssKb: 0,
      cpu: 0,
      since: at,
      command: `[${name}]`,
    })),
    ...units.map(({ user, pid, rssKb, since, command, name }) => ({
      user,
      pid: pid!,
      ppid: 1,
      rssKb,
      cpu: name === "orders-api.service" ? 7.4 : 0.1,
      since,
      command,
    })),
    {
      user: "root",
      pid: guest.nextPid() + 2000,
      ppid: 1,
      rssKb: 0,
      cpu: 0,
      since: guest.now(),
      command: "ps",
    },
  ];
}

const ps: SimulatedCommand = ({ guest, args }) => {
  const sort = args.join(" ").match(/--sort[= ]?-?%?(rss|mem|cpu|pcpu|pmem)/)?.[1];
  const format = args
    .join(" ")
    .match(/-e?o ?=?\s*(\S+)/)?.[1]
    ?.split(",");
  let all = processes(guest);
  if (sort !== undefined)
    all = all.toSorted((a, b) => (/cpu/.test(sort) ? b.cpu - a.cpu : b.rssKb - a.rssKb));
  const everybody = args.some((word) => /^-?[aAex]|^-[a-zA-Z]*e/.test(word)) || format !== undefined;
  if (!everybody) all = all.filter(({ command }) => command === "ps");
  const cell = (process: Process, column: string): string => {
    switch (column.replace(/[:=].*$/, "")) {
      case "user":
        return process.user;
      case "ppid":
        return String(process.ppid);
      case "pid":
        return String(process.pid);
      case "%mem":
      case "pmem":
        return ((100 * process.rssKb) / memoryTotalKb).toFixed(1);
      case "%cpu":
      case "pcpu":
        return process.cpu.toFixed(1);
      case "rss":
        return String(process.rssKb);
      case "vsz":
        return String(process.rssKb * 3);
      case "stat":
      case "s":
      case "state":
        return process.command === "ps" ? "R" : "S";
      case "comm":
        return process.command
          .split(/[ :]/)[0]!
          .replace(/^.*\//, "")
          .replace(/^\[|\]$/g, "");
      case "etime":
        return String(Math.floor((guest.now().getTime() - process.since.getTime()) / 1000));
      case "wchan":
        return "-";
      default:
        return process.command;
    }
  };
  const columns =
    format ??
    (args.some((word) => word.includes("f"))
      ? ["user", "pid", "ppid", "pcpu", "args"]
      : ["user", "pid", "%cpu", "%mem", "vsz", "rss", "stat", "args"]);
  const titles: Record<string, string> = {
    args: "COMMAND",
    cmd: "CMD",
    pcpu: "%CPU",
    pmem: "%MEM",
    comm: "COMMAND",
  };
  const head = columns.map((column) => titles[column] ?? column.toUpperCase());
  return prints(table([head, ...all.map((process) => columns.map((column) => cell(process, column)))]));
};

const top: SimulatedCommand = ({ guest, args }) => {
  if (!args.some((word) => word.includes("b"))) return fails("top: failed tty get");
  const { used, free: unused, cache, available } = guest.memoryKb();
  const mib = (kb: number) => (kb / 1024).toFixed(1);
  const list = processes(guest).toSorted((a, b) => b.cpu - a.cpu || b.rssKb - a.rssKb);
  return prints(
    `top -${summary(guest).replace(/^ /, " ")}\nTasks: ${list.length} total,   1 running, ${list.length - 1} sleeping,   0 stopped,   0 zombie\n` +
      `%Cpu(s):  3.9 us,  1.2 sy,  0.0 ni, 94.1 id,  0.6 wa,  0.0 hi,  0.2 si,  0.0 st\n` +
      `MiB Mem :   ${mib(memoryTotalKb)} total,   ${mib(unused)} free,   ${mib(used)} used,   ${mib(cache)} buff/cache\n` +
      `MiB Swap:   ${mib(swapTotalKb)} total,   ${mib(swapTotalKb - guest.swapUsedKb)} free,   ${mib(guest.swapUsedKb)} used.   ${mib(available)} avail Mem\n\n` +
      table(
        [
          ["PID", "USER", "RES", "S", "%CPU", "%MEM", "COMMAND"],
          ...list.map((one) => [
            String(one.pid),
            one.user,
            String(one.rssKb),
            "S",
            one.cpu.toFixed(1),
            ((100 * one.rssKb) / memoryTotalKb).toFixed(1),
            one.command.split(" ")[0]!,
          ]),
        ],
        [0, 2, 4, 5],
      ),
  );
};

const vmstat: SimulatedCommand = ({ guest, args }) => {
  const rows = Math.min(5, Number(options(args).rest[1] ?? 1) || 1);
  const { free: unused, cache } = guest.memoryKb();
  const row = ` 1  0 ${guest.swapUsedKb} ${unused} 31204 ${cache - 31_204}    0    0    18    74  310  590  4  1 94  1  0`;
  return printsLines([
    "procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----",
    " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st",
    ...Array.from({ length: rows }, () => row),
  ]);
};

const swapon: SimulatedCommand = ({ guest, args }) =>
  args.includes("--show") || args.includes("-s")
    ? prints(
        (args.includes("--noheadings") ? "" : "NAME      TYPE  SIZE   USED PRIO\n") +
          `/swapfile file 1024M ${`${Math.round(guest.swapUsedKb / 1024)}M`.padStart(6)}   -2\n`,
      )
    : fails("swapon: the demo machine only shows its swap: swapon --show");

const id: SimulatedCommand = ({ account, args }) => {
  const { flags } = options(args);
  const named = flags.has("n");
  const own = named ? account.name : String(account.uid);
  if (flags.has("u") || flags.has("g")) return prints(`${own}\n`);
  if (flags.has("G")) {
    const further = account.uid === 0 ? "" : named ? " adm systemd-journal" : " 4 999";
    return prints(`${own}${further}\n`);
  }
  return prints(
    account.uid === 0
      ? "uid=0(root) gid=0(root) groups=0(root)\n"
      : `uid=${account.uid}(${account.name}) gid=${account.uid}(${account.name}) groups=${account.uid}(${account.name}),4(adm),999(systemd-journal)\n`,
  );
};

const uname: SimulatedCommand = ({ args }) =>
  prints(
    args.includes("-a")
      ? "Linux devvm 6.1.0-28-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 x86_64 GNU/Linux\n"
      : args.includes("-r")
        ? "6.1.0-28-amd64\n"
        : args.includes("-n")
          ? "devvm\n"
          : "Linux\n",
  );

const date: SimulatedCommand = ({ guest, args }) => {
  const now = guest.now();
  const format = args.find((word) => word.startsWith("+"));
  if (args.some((word) => word === "-s" || word.startsWith("--set")))
    return fails("date: cannot set date: Operation not permitted");
  if (args.includes("-Is") || args.some((word) => word.startsWith("--iso-8601")))
    return prints(`${now.toISOString().slice(0, 19)}+00:00\n`);
  if (format === undefined)
    return prints(
      `${now.toUTCString().replace(/^(\w+), (\d+) (\w+) (\d+) ([\d:]+) GMT$/, "$1 $3 $2 $5 UTC $4")}\n`,
    );
  const parts: Record<string, string> = {
    s: String(Math.floor(now.getTime() / 1000)),
    F: now.toISOString().slice(0, 10),
    T: now.toISOString().slice(11, 19),
    Y: String(now.getUTCFullYear()),
    m: now.toISOString().slice(5, 7),
    d: now.toISOString().slice(8, 10),
    H: now.toISOString().slice(11, 13),
    M: now.toISOString().slice(14, 16),
    S: now.toISOString().slice(17, 19),
    "%": "%",
  };
  return prints(
    `${format.slice(1).replaceAll(/%(.)/g, (whole, letter: string) => parts[letter] ?? whole)}\n`,
  );
};

/** At most this long, whatever is asked for. */
const sleepMsMax = 20 * 60_000;
const sleep: SimulatedCommand = async ({ args, signal }) => {
  const [, count, unit = "s"] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(args[0] ?? "") ?? [];
  if (count === undefined) return fails(`sleep: invalid time interval '${args[0] ?? ""}'`);
  const each = { s: 1_000, m: 60_000, h: 3_600_000 }[unit || "s"] ?? 1_000;
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      resolve({ out: "", err: "", code: signal.aborted ? 137 : 0 });
    };
    const timer = setTimeout(end, Math.min(sleepMsMax, Number(count) * each));
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  });
};

const timedatectl: SimulatedCommand = ({ guest, args }) => {
  const now = guest.now();
  if (args.includes("show"))
    return prints(
      `Timezone=Etc/UTC\nLocalRTC=no\nCanNTP=yes\nNTP=yes\nNTPSynchronized=yes\nTimeUSec=${now.toUTCString().replace(" GMT", " UTC").replace(",", "")}\n`,
    );
  return args.some((word) => !word.startsWith("-") && word !== "status")
    ? fails("Failed to set time: Access denied")
    : prints(
        `           Universal time: ${now.toUTCString().replace(" GMT", " UTC")}\n                Time zone: Etc/UTC (UTC, +0000)\nSystem clock synchronized: yes\n              NTP service: active\n`,
      );
};

const nothing: SimulatedCommand = () => prints("");
const failure: SimulatedCommand = () => ({ out: "", err: "", code: 1 });

export const systemCommands = {
  uptime,
  free,
  ps,
  top,
  vmstat,
  swapon,
  id,
  uname,
  date,
  timedatectl,
  sleep,
  true: nothing,
  ":": nothing,
  cd: nothing,
  sync: nothing,
  false: failure,
  whoami: (({ account }) => prints(`${account.name}\n`)) satisfies SimulatedCommand,
  hostname: (() => prints("devvm\n")) satisfies SimulatedCommand,
  nproc: (() => prints(`${processors}\n`)) satisfies SimulatedCommand,
  pwd: (({ account }) => prints(`${account.home}\n`)) satisfies SimulatedCommand,
};
