import { memoryTotalKb, swapTotalKb, type Guest } from "../guest.ts";

/** The files of /proc that a person in an emergency reads; undefined for every other path. */
export function virtualFile(guest: Guest, path: string): string | undefined {
  const up = (guest.now().getTime() - guest.bootedAt.getTime()) / 1000;
  switch (path) {
    case "/proc/loadavg": {
      const [one, five, fifteen] = guest.load();
      return `${one.toFixed(2)} ${five.toFixed(2)} ${fifteen.toFixed(2)} 1/${140 + guest.units.size} ${guest.nextPid() + 2000}\n`;
    }
    case "/proc/uptime":
      return `${up.toFixed(2)} ${(up * 1.87).toFixed(2)}\n`;
    case "/proc/sys/kernel/random/boot_id":
      return `${guest.bootId}\n`;
    case "/proc/meminfo":
      return meminfo(guest);
    case "/proc/cpuinfo":
      return cpuinfo();
    case "/proc/vmstat":
      return vmstat(guest);
    case "/proc/mounts":
      return mounts;
    case "/proc/pressure/cpu":
      return pressure(guest, 1.1, 0);
    case "/proc/pressure/io":
      return pressure(guest, guest.disk.available(guest.now()) === 0 ? 6.4 : 0.3, 0.4);
    case "/proc/pressure/memory":
      return pressure(guest, guest.swapUsedKb > 0 ? 2.2 : 0, 0.1);
    case "/proc/version":
      return "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1\n";
    case "/proc/swaps":
      return `Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/swapfile                               file\t\t${swapTotalKb}\t\t${guest.swapUsedKb}\t\t-2\n`;
    default:
      return undefined;
  }
}

export const processors = 2;

function cpuinfo(): string {
  return Array.from(
    { length: processors },
    (_, n) =>
      `processor\t: ${n}\nvendor_id\t: GenuineIntel\nmodel name\t: QEMU Virtual CPU version 2.5+\ncpu MHz\t\t: 2294.608\n\n`,
  ).join("");
}

/** Kills of this boot, as its kernel counts them. */
function vmstat(guest: Guest): string {
  const kills = guest.journal.select(
    ({ boot, text }) => boot === guest.boots && text.startsWith("Out of memory: Killed"),
  );
  const { free } = guest.memoryKb();
  return `nr_free_pages ${Math.floor(free / 4)}\npswpin ${guest.swapUsedKb >> 3}\npswpout ${guest.swapUsedKb >> 2}\npgmajfault 20419\noom_kill ${kills.length}\n`;
}

const mounts = [
  "/dev/sda1 / ext4 rw,relatime,errors=remount-ro 0 0",
  "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0",
  "sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0",
  "tmpfs /run tmpfs rw,nosuid,nodev,size=2009112k,mode=755 0 0",
  "tmpfs /run/lock tmpfs rw,nosuid,nodev,noexec,relatime,size=5120k 0 0",
  "",
].join("\n");

function meminfo(guest: Guest): string {
  const { free, cache, available } = guest.memoryKb();
  const rows: [string, number][] = [
    ["MemTotal", memoryTotalKb],
    ["MemFree", free],
    ["MemAvailable", available],
    ["Buffers", 31_204],
    ["Cached", cache - 31_204],
    ["SwapCached", guest.swapUsedKb > 0 ? 41_988 : 0],
    ["SwapTotal", swapTotalKb],
    ["SwapFree", swapTotalKb - guest.swapUsedKb],
  ];
  return rows.map(([name, kb]) => `${`${name}:`.padEnd(16)}${String(kb).padStart(8)} kB\n`).join("");
}

function pressure(guest: Guest, some: number, full: number): string {
  const total = Math.floor((guest.now().getTime() - guest.bootedAt.getTime()) * some * 3);
  const line = (kind: string, share: number) =>
    `${kind} avg10=${share.toFixed(2)} avg60=${(share * 0.9).toFixed(2)} avg300=${(share * 0.8).toFixed(2)} total=${total}\n`;
  return line("some", some) + line("full", full);
}
