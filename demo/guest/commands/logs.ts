import { machineId } from "../contents.ts";
import { shortLine, type Entry } from "../journal.ts";
import { unitName } from "../units.ts";
import { fails, human, options, prints, type Call, type Ran, type SimulatedCommand } from "./call.ts";

const priorities = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const folder = `/var/log/journal/${machineId}`;

const journalctl: SimulatedCommand = (call) => {
  const { guest, account } = call;
  const { flags } = options(normal(call.args), "unpgotSUb");
  if (flags.has("disk-usage"))
    return prints(
      `Archived and active journals take up ${human(guest.disk.usage(folder, guest.now()))} in the file system.\n`,
    );
  const vacuum = [...flags.keys()].find((name) => name.startsWith("vacuum-"));
  if (vacuum !== undefined)
    return account.uid === 0
      ? vacuumJournal(call, vacuum, flags.get(vacuum)!)
      : fails("Failed to vacuum /var/log/journal: Permission denied");
  if (flags.has("f")) return fails("journalctl: the demo machine follows no logs; leave out -f");
  if (flags.has("list-boots"))
    return prints(
      Array.from(
        { length: guest.boots + 1 },
        (_, n) =>
          ` ${n - guest.boots} ${n === guest.boots ? guest.bootId.replaceAll("-", "") : `boot${n}`}\n`,
      ).join(""),
    );

  const boot =
    flags.get("b") ??
    (flags.has("boot") ? flags.get("boot")! : flags.has("k") || flags.has("dmesg") ? "0" : undefined);
  const wantedBoot =
    boot === undefined ? undefined : guest.boots + (Number.parseInt(boot === "" ? "0" : boot, 10) || 0);
  const level = levelOf(flags.get("p") ?? flags.get("priority"));
  if (level === undefined) return fails(`Unknown log level ${flags.get("p") ?? flags.get("priority") ?? ""}`);
  const since = sinceOf(flags.get("S") ?? flags.get("since"), guest.now());
  const unit = flags.get("u") ?? flags.get("unit");
  const pattern = flags.get("g") ?? flags.get("grep");
  const matches = (entry: Entry) =>
    (wantedBoot === undefined || entry.boot === wantedBoot) &&
    (!(flags.has("k") || flags.has("dmesg")) || entry.unit === null) &&
    entry.priority <= level &&
    entry.at.getTime() >= since &&
    (unit === undefined ||
      (entry.unit !== null &&
        (entry.unit === unitName(unit) || entry.unit.startsWith(unit.replace(/\*.*$/, "@"))))) &&
    (pattern === undefined || entry.text.toLowerCase().includes(pattern.toLowerCase())) &&
    (!flags.has("t") || entry.ident === flags.get("t"));
  let entries = guest.journal.select(matches);
  const count = flags.get("n") ?? flags.get("lines") ?? (flags.has("e") ? "1000" : undefined);
  if (count !== undefined && count !== "all") {
    if (!/^\d{1,7}$/.test(count)) return fails(`Failed to parse lines '${count}'`);
    entries = count === "0" ? [] : entries.slice(-Number(count));
  }
  if (flags.has("r")) entries.reverse();
  return prints(
    entries.length === 0
      ? "-- No entries --\n"
      : entries.map((entry) => `${line(entry, flags.get("o") ?? flags.get("output"))}\n`).join(""),
  );
};

/** Options whose value may be the next word. */
const takesValue: readonly string[] = [
  "--since",
  "--unit",
  "--lines",
  "--priority",
  "--output",
  "--grep",
  "--vacuum-size",
  "--vacuum-time",
];

/** `-b -1` has a value that looks like an option, and a bare `-b` has none; `-n` may stand without its number. */
function normal(args: readonly string[]): string[] {
  return args.flatMap((word, at) => {
    const next = args[at + 1] ?? "";
    if (/^-\d+$/.test(word) && /^-\w*b$/.test(args[at - 1] ?? "")) return [];
    if (word === "-b" || word === "--boot") return [`--boot=${/^-?\d+$/.test(next) ? next : "0"}`];
    if (/^-[a-z]+b$/.test(word)) return [word.slice(0, -1), "--boot=0"];
    if (word === "-n" && !/^(\d+|all)$/.test(next)) return ["--lines=10"];
    if (word.startsWith("--") && !word.includes("=") && takesValue.includes(word)) return [`${word}=${next}`];
    if (takesValue.includes(args[at - 1] ?? "")) return [];
    return [word];
  });
}

const line = (entry: Entry, output: string | undefined) => (output === "cat" ? entry.text : shortLine(entry));

function levelOf(word: string | undefined): number | undefined {
  if (word === undefined) return 7;
  const name = word.split("..").at(-1)!;
  const at = /^[0-7]$/.test(name)
    ? Number(name)
    : priorities.indexOf(name === "error" ? "err" : name === "warn" ? "warning" : name);
  return at < 0 ? undefined : at;
}

/** Milliseconds; what is not understood means from the beginning, so that nothing is hidden. */
function sinceOf(word: string | undefined, now: Date): number {
  const relative = /^-?(\d+)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)( ago)?$/.exec(word ?? "");
  if (relative !== null) {
    const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[relative[2]![0] as "s" | "m" | "h" | "d"];
    return now.getTime() - Number(relative[1]) * unit * 1000;
  }
  if (word === "today") return new Date(now).setUTCHours(0, 0, 0, 0);
  if (word === "yesterday") return new Date(now).setUTCHours(0, 0, 0, 0) - 86_400_000;
  const absolute = word === undefined ? Number.NaN : Date.parse(`${word.replace(" ", "T")}Z`);
  return Number.isNaN(absolute) ? 0 : absolute;
}

function vacuumJournal({ guest }: Call, how: string, amount: string): Ran {
  const size = /^(\d+)([KMG]?)$/.exec(amount);
  if (how === "vacuum-size" && size === null) return fails(`Failed to parse vacuum size: ${amount}`);
  const keep = how === "vacuum-size" ? Number(size![1]) * 1024 ** " KMG".indexOf(size![2] || " ") : 0;
  const days = /^(\d+)\s*d/.exec(amount)?.[1];
  let err = "";
  let freed = 0;
  for (const path of guest.disk.list(folder)) {
    const file = guest.disk.stat(path, guest.now())!;
    const old =
      how === "vacuum-time" && days !== undefined
        ? guest.now().getTime() - file.at.getTime() > Number(days) * 86_400_000
        : how !== "vacuum-time";
    if (!path.includes("@") || !old || guest.disk.usage(folder, guest.now()) <= keep) continue;
    freed += file.size;
    guest.disk.remove(path, guest.now());
    err += `Deleted archived journal ${path} (${human(file.size)}).\n`;
  }
  return {
    out: "",
    err: `${err}Vacuuming done, freed ${freed === 0 ? "0B" : human(freed)} of archived journals from ${folder}.\n`,
    code: 0,
  };
}

const dmesg: SimulatedCommand = ({ guest, account, args }) => {
  // As Debian sets kernel.dmesg_restrict.
  if (account.uid !== 0) return fails("dmesg: read kernel buffer failed: Operation not permitted");
  const { flags } = options(args, "l");
  const wanted = flags.get("l") ?? flags.get("level");
  const levels = wanted?.split(",").map((name) => priorities.indexOf(name === "warn" ? "warning" : name));
  const entries = guest.journal.select(
    ({ unit, boot, priority }) =>
      unit === null && boot === guest.boots && (levels === undefined || levels.includes(priority)),
  );
  const at = (entry: Entry) =>
    flags.has("T") || flags.has("H")
      ? `[${entry.at.toUTCString().replace(/^(\w+), (\d+) (\w+) (\d+) ([\d:]+) GMT$/, "$1 $3 $2 $5 $4")}]`
      : `[${((entry.at.getTime() - guest.bootedAt.getTime()) / 1000).toFixed(6).padStart(12)}]`;
  return prints(entries.map((entry) => `${at(entry)} ${entry.text}\n`).join(""));
};

/** Only what frees space: the demo machine installs nothing. */
const apt: SimulatedCommand = ({ guest, account, args, name }) => {
  if (args[0] !== "clean") return fails(`${name}: the demo machine has only '${name} clean'`, 100);
  if (account.uid !== 0)
    return fails(
      "E: Could not open lock file /var/cache/apt/archives/lock - open (13: Permission denied)",
      100,
    );
  for (const path of guest.disk.list("/var/cache/apt/archives")) guest.disk.remove(path, guest.now());
  return prints("");
};

export const logCommands = { journalctl, dmesg, "apt-get": apt, apt };
