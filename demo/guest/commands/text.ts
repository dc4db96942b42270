import { fails, options, prints, type Call, type Ran, type SimulatedCommand } from "./call.ts";
import { inputs } from "./files.ts";

/** A pattern longer than this is refused: it is matched by this machine's own engine. */
const patternCharsMax = 500;
/** Characters of a line that a pattern sees. */
const matchedCharsMax = 500;
/** Unbounded repetitions in a pattern; more of them can keep the engine busy for hours. */
const repetitionsMax = 3;

const linesOf = (text: string) => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));

const head: SimulatedCommand = (call) =>
  part(
    call,
    (lines, count) => lines.slice(0, count),
    (text, count) => text.slice(0, count),
  );
const tail: SimulatedCommand = (call) =>
  part(
    call,
    (lines, count, from) => (from ? lines.slice(count - 1) : count === 0 ? [] : lines.slice(-count)),
    (text, count) => (count === 0 ? "" : text.slice(-count)),
  );

async function part(
  call: Call,
  pick: (lines: string[], count: number, from: boolean) => string[],
  pickBytes: (text: string, count: number) => string,
): Promise<Ran> {
  const { flags, rest } = options(
    call.args.map((word) => word.replace(/^--lines=/, "-n").replace(/^--bytes=/, "-c")),
    "nc",
  );
  if (flags.has("f") || flags.has("F"))
    return fails(`${call.name}: the demo machine follows no files; leave out -f`);
  const given = flags.get("n") ?? flags.get("c") ?? flags.get("number") ?? "10";
  if (!/^\+?\d{1,9}$/.test(given)) return fails(`${call.name}: invalid number of lines: '${given}'`);
  const { texts, err } = await inputs(call, rest);
  const out = texts.map(({ name, text }) => {
    const title = texts.length > 1 && !flags.has("q") ? `==> ${name} <==\n` : "";
    if (flags.has("c")) return title + pickBytes(text, Number(given));
    return (
      title +
      pick(linesOf(text), Number(given.replace("+", "")), given.startsWith("+"))
        .map((line) => `${line}\n`)
        .join("")
    );
  });
  return { out: out.join(""), err, code: err === "" ? 0 : 1 };
}

const grep: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args, "eABCm");
  const pattern = flags.get("e") ?? rest.shift();
  if (pattern === undefined) return fails("Usage: grep [OPTION]... PATTERNS [FILE]...", 2);
  if (pattern.length > patternCharsMax) return fails("grep: the pattern is too long for the demo machine", 2);
  const matches = matcher(pattern, {
    fixed: flags.has("F"),
    extended: flags.has("E") || flags.has("P") || call.name === "egrep",
    ignoreCase: flags.has("i"),
    word: flags.has("w"),
  });
  if (typeof matches === "string") return fails(`grep: ${matches}`, 2);
  const { texts, err } = await inputs(call, rest);
  const context = (flag: string) => Math.min(100, Number(flags.get(flag) ?? flags.get("C") ?? 0)) || 0;
  let out = "";
  let any = false;
  for (const { name, text } of texts) {
    const label = texts.length > 1 && !flags.has("h") ? `${name}:` : "";
    const lines = linesOf(text);
    const most = Number(flags.get("m") ?? Number.POSITIVE_INFINITY);
    const hits = lines.flatMap((line, at) => (matches(line) === flags.has("v") ? [] : [at])).slice(0, most);
    any ||= hits.length > 0;
    if (flags.has("q")) continue;
    if (flags.has("c")) out += `${label}${hits.length}\n`;
    else if (flags.has("l")) out += hits.length > 0 ? `${name}\n` : "";
    else {
      const shown = new Set(
        hits.flatMap((at) =>
          Array.from({ length: context("B") + context("A") + 1 }, (_, n) => at - context("B") + n),
        ),
      );
      for (const at of [...shown].filter((n) => n >= 0 && n < lines.length).toSorted((a, b) => a - b))
        out += `${label}${flags.has("n") ? `${at + 1}:` : ""}${lines[at]}\n`;
    }
  }
  return { out, err, code: err !== "" ? 2 : any ? 0 : 1 };
};

/** Answers why the pattern will not do as a string. */
function matcher(
  pattern: string,
  how: { fixed: boolean; extended: boolean; ignoreCase: boolean; word: boolean },
): ((line: string) => boolean) | string {
  // In a basic pattern the plain signs are text and the escaped ones are signs.
  const extended = how.extended
    ? pattern
    : pattern.replaceAll(/\\?[|+?(){}]/g, (sign) => (sign.length === 2 ? sign[1]! : `\\${sign}`));
  const source = (how.fixed ? pattern.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&") : extended)
    .replaceAll("[[:space:]]", "\\s")
    .replaceAll("[[:digit:]]", "\\d")
    .replaceAll("[[:alpha:]]", "[A-Za-z]");
  // A repetition of a repetition grows without any bound, and a reference back may as well.
  const repetitions = (source.match(/[*+{]/g) ?? []).length;
  if (!how.fixed && (repetitions > repetitionsMax || /\)[*+{]|\\[1-9]/.test(source)))
    return "that pattern is too clever for the demo machine";
  try {
    const expression = new RegExp(how.word ? `\\b(?:${source})\\b` : source, how.ignoreCase ? "i" : "");
    return (line) => expression.test(line.slice(0, matchedCharsMax));
  } catch {
    return "Unmatched [, [^, [:, [., or [=, or another fault in the pattern";
  }
}

const sort: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args, "kt");
  const { texts, err } = await inputs(call, rest);
  const key = Number.parseInt(flags.get("k") ?? "0", 10);
  const numeric = flags.has("n") || flags.get("k")?.includes("n") === true;
  const byHuman = flags.has("h") || flags.get("k")?.includes("h") === true;
  const field = (line: string) =>
    key > 0 ? (line.trim().split(flags.get("t") ?? /\s+/)[key - 1] ?? "") : line;
  const compare = (a: string, b: string) => {
    if (byHuman) return humanValue(field(a)) - humanValue(field(b));
    if (numeric) return (Number.parseFloat(field(a)) || 0) - (Number.parseFloat(field(b)) || 0);
    return field(a) < field(b) ? -1 : field(a) > field(b) ? 1 : 0;
  };
  let lines = texts.flatMap(({ text }) => linesOf(text)).toSorted(compare);
  if (flags.has("u")) lines = [...new Set(lines)];
  if (flags.has("r") || flags.get("k")?.includes("r") === true) lines.reverse();
  return { out: lines.map((line) => `${line}\n`).join(""), err, code: err === "" ? 0 : 2 };
};

function humanValue(text: string): number {
  const found = /^\s*([\d.]+)([KMGT]?)/.exec(text);
  return found === null ? 0 : Number(found[1]) * 1024 ** " KMGT".indexOf(found[2] || " ");
}

const uniq: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args);
  const { texts, err } = await inputs(call, rest);
  const counted: [string, number][] = [];
  for (const line of texts.flatMap(({ text }) => linesOf(text))) {
    const last = counted.at(-1);
    if (last?.[0] === line) last[1]++;
    else counted.push([line, 1]);
  }
  const out = counted.map(
    ([line, count]) => `${flags.has("c") ? `${String(count).padStart(7)} ` : ""}${line}\n`,
  );
  return { out: out.join(""), err, code: err === "" ? 0 : 1 };
};

const wc: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args);
  const { texts, err } = await inputs(call, rest);
  const wanted = ["l", "w", "c"].filter((flag) => flags.has(flag));
  const out = texts.map(({ name, text }) => {
    const counts = {
      l: text.split("\n").length - 1,
      w: text.split(/\s+/).filter((word) => word !== "").length,
      c: Buffer.byteLength(text),
    };
    const shown = (wanted.length === 0 ? ["l", "w", "c"] : wanted).map(
      (flag) => counts[flag as "l" | "w" | "c"],
    );
    return `${shown.join(" ")}${name === "-" ? "" : ` ${name}`}\n`;
  });
  return { out: out.join(""), err, code: err === "" ? 0 : 1 };
};

const echo: SimulatedCommand = ({ args }) => {
  const escapes = args[0] === "-e" || args[0] === "-ne";
  const quiet = args[0] === "-n" || args[0] === "-ne";
  const text = (escapes || quiet ? args.slice(1) : args).join(" ");
  return prints(
    (escapes ? text.replaceAll("\\n", "\n").replaceAll("\\t", "\t") : text) + (quiet ? "" : "\n"),
  );
};

/** `%s`, `%d` and `%%` in turn, with `\\n` and `\\t`; begun again while there are words left. */
const printf: SimulatedCommand = ({ args }) => {
  const [format = "", ...words] = args;
  const plain = format.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
  let out = "";
  do {
    const before = words.length;
    out += plain.replaceAll(/%([sd%])/g, (_, sign: string) => (sign === "%" ? "%" : (words.shift() ?? "")));
    if (words.length === before) break;
  } while (words.length > 0);
  return prints(out);
};

/** Only text comes back out of it. */
const base64: SimulatedCommand = async (call) => {
  const { flags, rest } = options(call.args, "w");
  const { texts, err } = await inputs(call, rest);
  const text = texts.map((one) => one.text).join("");
  const decodes = flags.has("d") || flags.has("decode");
  if (decodes && !/^[\w+/=\s]*$/.test(text)) return fails("base64: invalid input");
  const out = decodes
    ? Buffer.from(text, "base64").toString("utf8")
    : `${Buffer.from(text).toString("base64")}\n`;
  return { out, err, code: err === "" ? 0 : 1 };
};

export const textCommands = {
  printf,
  base64,
  head,
  tail,
  grep,
  egrep: grep,
  sort,
  uniq,
  wc,
  echo,
};
