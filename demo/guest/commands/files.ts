import { mayEnter, mayRead, resolvePath } from "../access.ts";
import { parentOf } from "../disk.ts";
import { globMatches } from "../glob.ts";
import { stamp } from "../journal.ts";
import { fails, human, options, prints, table, type Call, type SimulatedCommand } from "./call.ts";
import { virtualFile } from "./virtual.ts";

/** What a command reads: the named files, or what comes down the pipe. */
export async function inputs(
  call: Call,
  names: readonly string[],
): Promise<{ texts: { name: string; text: string }[]; err: string }> {
  if (names.length === 0) return { texts: [{ name: "-", text: await call.stdin() }], err: "" };
  const texts: { name: string; text: string }[] = [];
  let err = "";
  for (const name of names) {
    const read = name === "-" ? { text: await call.stdin() } : readFile(call, name);
    if ("problem" in read) err += `${call.name}: ${name}: ${read.problem}\n`;
    else texts.push({ name, text: read.text });
  }
  return { texts, err };
}

export function readFile(call: Call, name: string): { text: string } | { problem: string } {
  const path = resolvePath(call.account, name);
  const virtual = virtualFile(call.guest, path);
  if (virtual !== undefined) return { text: virtual };
  const file = call.guest.disk.stat(path, call.guest.now());
  if (file === undefined)
    return { problem: call.guest.disk.isFolder(path) ? "Is a directory" : "No such file or directory" };
  if (!mayRead(call.account, path, file)) return { problem: "Permission denied" };
  return { text: file.text ?? "[the demo machine knows only the size of this file]\n" };
}

const cat: SimulatedCommand = async (call) => {
  const { texts, err } = await inputs(call, options(call.args).rest);
  return { out: texts.map(({ text }) => text).join(""), err, code: err === "" ? 0 : 1 };
};

const ls: SimulatedCommand = (call) => {
  const { guest, account } = call;
  const { flags, rest } = options(call.args);
  const now = guest.now();
  let out = "";
  let err = "";
  const describe = (path: string, name: string): string[] => {
    const file = guest.disk.stat(path, now);
    const size = file?.size ?? 4096;
    const shown = flags.has("h") ? human(size) : String(size);
    const [mode, owner, group] =
      file === undefined ? ["drwxr-xr-x", "root", "root"] : [file.mode, file.owner, file.group];
    return [mode, "1", owner, group, shown, stamp(file?.at ?? guest.bootedAt).slice(0, -3), name];
  };
  const show = (paths: readonly { path: string; name: string }[]) => {
    let sorted =
      flags.has("A") || flags.has("a") ? [...paths] : paths.filter(({ name }) => !/^\.[^/]/.test(name));
    if (flags.has("S"))
      sorted.sort(
        (a, b) => (guest.disk.stat(b.path, now)?.size ?? 0) - (guest.disk.stat(a.path, now)?.size ?? 0),
      );
    if (flags.has("t"))
      sorted.sort(
        (a, b) =>
          Number(guest.disk.stat(b.path, now)?.at ?? 0) - Number(guest.disk.stat(a.path, now)?.at ?? 0),
      );
    if (flags.has("r")) sorted = sorted.toReversed();
    if (!flags.has("l")) return sorted.map(({ name }) => `${name}\n`).join("");
    return sorted.length === 0
      ? ""
      : table(
          sorted.map(({ path, name }) => describe(path, name)),
          [1, 4],
        );
  };
  for (const name of rest.length === 0 ? [account.home] : rest) {
    const path = resolvePath(account, name);
    if (
      guest.disk.stat(path, now) !== undefined ||
      virtualFile(guest, path) !== undefined ||
      (flags.has("d") && guest.disk.isFolder(path))
    ) {
      out += show([{ path, name }]);
    } else if (!guest.disk.isFolder(path)) {
      err += `ls: cannot access '${name}': No such file or directory\n`;
    } else if (!mayEnter(account, path)) {
      err += `ls: cannot open directory '${name}': Permission denied\n`;
    } else {
      const inside = guest.disk
        .list(path)
        .map((child) => ({ path: child, name: child.slice(parentOf(child).length).replace(/^\//, "") }));
      const total = flags.has("l")
        ? `total ${flags.has("h") ? human(guest.disk.usage(path, now)) : Math.ceil(guest.disk.usage(path, now) / 1024)}\n`
        : "";
      out += (rest.length > 1 ? `${name}:\n` : "") + total + show(inside) + (rest.length > 1 ? "\n" : "");
    }
  }
  return { out, err, code: err === "" ? 0 : 2 };
};

const df: SimulatedCommand = ({ guest, args, account }) => {
  const { flags, rest } = options(args, "tx");
  const now = guest.now();
  for (const name of rest) {
    const path = resolvePath(account, name);
    if (!guest.disk.isFolder(path) && guest.disk.stat(path, now) === undefined)
      return fails(`df: ${name}: No such file or directory`);
  }
  const { disk } = guest;
  const typed = flags.has("T");
  const mounts = [
    {
      source: "/dev/sda1",
      type: "ext4",
      size: disk.size,
      used: disk.used(now),
      free: disk.available(now),
      at: "/",
      inodes: 1_310_720,
      files: 71_000 + disk.files.size,
    },
    {
      source: "tmpfs",
      type: "tmpfs",
      size: 2_057_330_688,
      used: 1_126_400,
      free: 2_056_204_288,
      at: "/run",
      inodes: 502_277,
      files: 612,
    },
    {
      source: "tmpfs",
      type: "tmpfs",
      size: 5_242_880,
      used: 0,
      free: 5_242_880,
      at: "/run/lock",
      inodes: 502_277,
      files: 3,
    },
  ].filter(
    ({ at, type }) =>
      (rest.length === 0 || at === "/") &&
      flags.get("x") !== type &&
      !(flags.has("t") && flags.get("t") !== type),
  );
  const amount = (bytes: number) =>
    flags.has("h")
      ? human(bytes)
      : flags.has("m")
        ? String(Math.ceil(bytes / 1_048_576))
        : String(Math.ceil(bytes / 1024));
  const percent = (used: number, free: number) =>
    `${used + free === 0 ? 0 : Math.ceil((100 * used) / (used + free))}%`;
  const head = flags.has("i")
    ? ["Filesystem", ...(typed ? ["Type"] : []), "Inodes", "IUsed", "IFree", "IUse%", "Mounted on"]
    : [
        "Filesystem",
        ...(typed ? ["Type"] : []),
        flags.has("h") ? "Size" : flags.has("m") ? "1M-blocks" : flags.has("P") ? "1024-blocks" : "1K-blocks",
        "Used",
        flags.has("h") ? "Avail" : "Available",
        flags.has("P") ? "Capacity" : "Use%",
        "Mounted on",
      ];
  const rows = mounts.map(({ source, type, size, used, free, at, inodes, files }) => [
    source,
    ...(typed ? [type] : []),
    ...(flags.has("i")
      ? [String(inodes), String(files), String(inodes - files), percent(files, inodes - files)]
      : [amount(size), amount(used), amount(free), percent(used, free)]),
    at,
  ]);
  const first = typed ? 2 : 1;
  return prints(table([head, ...rows], [first, first + 1, first + 2, first + 3]));
};

const du: SimulatedCommand = ({ guest, account, args }) => {
  const { flags, rest } = options(
    args.map((word) => (word === "--max-depth" ? "-d" : word)),
    "dt",
  );
  const now = guest.now();
  const depth = flags.has("s")
    ? 0
    : Number(flags.get("d") ?? flags.get("max-depth") ?? Number.POSITIVE_INFINITY);
  if (Number.isNaN(depth)) return fails(`du: invalid maximum depth`);
  const amount = (bytes: number) =>
    flags.has("h")
      ? human(bytes)
      : flags.has("m")
        ? String(Math.ceil(bytes / 1_048_576))
        : flags.has("b")
          ? String(bytes)
          : String(Math.ceil(bytes / 1024));
  let out = "";
  let err = "";
  /** Bytes that this account can see; says what it cannot. */
  const seen = (path: string, name: string, level: number, top: boolean): number => {
    const file = guest.disk.stat(path, now);
    if (file !== undefined) {
      const bytes = guest.disk.usage(path, now);
      if (top || (flags.has("a") && level <= depth)) out += `${amount(bytes)}\t${name}\n`;
      return bytes;
    }
    let sum = 4096;
    if (mayEnter(account, path)) {
      for (const child of guest.disk.list(path))
        sum += seen(
          child,
          child.replace(path === "/" ? "/" : `${path}/`, name === "/" ? "/" : `${name}/`),
          level + 1,
          false,
        );
    } else err += `du: cannot read directory '${name}': Permission denied\n`;
    if (level <= depth) out += `${amount(sum)}\t${name}\n`;
    return sum;
  };
  let total = 0;
  for (const name of rest.length === 0 ? [account.home] : rest) {
    const path = resolvePath(account, name);
    if (guest.disk.stat(path, now) === undefined && !guest.disk.isFolder(path))
      err += `du: cannot access '${name}': No such file or directory\n`;
    else total += seen(path, name, 0, true);
  }
  if (flags.has("c")) out += `${amount(total)}\ttotal\n`;
  return { out, err, code: err === "" ? 0 : 1 };
};

const find: SimulatedCommand = ({ guest, account, args }) => {
  const now = guest.now();
  const where: string[] = [];
  const rest = [...args];
  while (rest[0] !== undefined && !rest[0].startsWith("-")) where.push(rest.shift()!);
  const value = (name: string) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : undefined);
  const unknown = rest.find(
    (word) =>
      word.startsWith("-") &&
      !["-type", "-size", "-name", "-xdev", "-maxdepth", "-mount"].includes(word) &&
      !/^-\d/.test(word),
  );
  if (unknown !== undefined)
    return fails(
      `find: the demo machine's find has no ${unknown}; it has -type, -size, -name, -maxdepth, -xdev`,
    );
  const size = /^\+(\d+)([kMG])$/.exec(value("-size") ?? "");
  let err = "";
  const least =
    size === null ? 0 : Number(size[1]) * { k: 1024, M: 1024 ** 2, G: 1024 ** 3 }[size[2] as "k" | "M" | "G"];
  const name = value("-name") ?? "*";
  const depth = Number(value("-maxdepth") ?? Number.POSITIVE_INFINITY);
  const found: string[] = [];
  const walk = (path: string, level: number) => {
    const file = guest.disk.stat(path, now);
    const folder = file === undefined;
    const fits = folder
      ? size === null && value("-type") !== "f"
      : value("-type") !== "d" && file.size > least;
    if (fits && globMatches(name, path.slice(path.lastIndexOf("/") + 1))) found.push(path);
    if (!folder || level >= depth) return;
    if (mayEnter(account, path)) for (const child of guest.disk.list(path)) walk(child, level + 1);
    else err += `find: '${path}': Permission denied\n`;
  };
  for (const start of where.length === 0 ? [account.home] : where) {
    const path = resolvePath(account, start);
    if (!guest.disk.isFolder(path) && guest.disk.stat(path, now) === undefined)
      err += `find: '${start}': No such file or directory\n`;
    else walk(path, 0);
  }
  return { out: found.map((path) => `${path}\n`).join(""), err, code: err === "" ? 0 : 1 };
};

const findmnt: SimulatedCommand = () =>
  prints(
    "TARGET SOURCE    FSTYPE OPTIONS\n/      /dev/sda1 ext4   rw,relatime,errors=remount-ro\n/run   tmpfs     tmpfs  rw,nosuid,nodev\n",
  );
const mount: SimulatedCommand = ({ args, account }) =>
  args.length === 0
    ? prints(
        "/dev/sda1 on / type ext4 (rw,relatime,errors=remount-ro)\nproc on /proc type proc (rw,nosuid,nodev,noexec)\ntmpfs on /run type tmpfs (rw,nosuid,nodev)\n",
      )
    : fails(
        account.uid === 0 ? "mount: the demo machine mounts nothing" : "mount: only root can do that",
        32,
      );

export const fileCommands = { cat, ls, df, du, find, findmnt, mount };
