import { mayRead, resolvePath } from "../access.ts";
import { fails, prints, type Call, type SimulatedCommand } from "./call.ts";
import { copy } from "./copies.ts";
import { root } from "./system.ts";

/** `sh -c 'line' [name argument ...]`, `sh FILE [argument ...]`, and from its stdin: `sh -s [argument ...]`, `sh`. */
const shell: SimulatedCommand = async (call) => {
  const { args, name } = call;
  const rest = [...args];
  let letters = "";
  while (/^-[a-z]+$/.test(rest[0] ?? "")) letters += rest.shift()!.slice(1);
  if (rest[0] === "--") rest.shift();
  const set = letters.includes("e") ? "set -e\n" : "";
  if (letters.includes("c")) {
    const [text, ...words] = rest;
    if (text === undefined) return fails(`${name}: -c: option requires an argument`, 2);
    return (await copy(call, words)) ?? call.line(set + text, words.length === 0 ? [name] : words);
  }
  const [file, ...words] = rest;
  if (letters.includes("s") || file === undefined)
    return call.line(set + (await call.stdin()), [name, ...rest], nothingToRead);
  const path = resolvePath(call.account, file);
  const script = call.guest.disk.stat(path, call.guest.now());
  if (script === undefined) return fails(`${name}: ${file}: No such file or directory`, 127);
  if (!mayRead(call.account, path, script)) return fails(`${name}: ${file}: Permission denied`, 126);
  return script.text === undefined
    ? fails(`${name}: ${file}: cannot execute binary file`, 126)
    : call.line(set + script.text, [file, ...words]);
};

const nothingToRead = async () => "";

/** `sudo [-n] command`, `sudo -n -l`: root needs no password, the other account has none to give. */
const sudo: SimulatedCommand = async ({ account, args, exec }) => {
  let at = 0;
  while (args[at]?.startsWith("-") === true) at += args[at] === "-u" ? 2 : 1;
  const words = args.slice(at);
  if (account.uid !== 0) return fails("sudo: a password is required");
  if (args.slice(0, at).some((word) => word.includes("l")))
    return prints("User root may run the following commands on devvm:\n    (ALL : ALL) ALL\n");
  return words.length === 0 ? fails("usage: sudo command [arg ...]") : exec(words, { as: root });
};

/** Commands that run another one; what they would add makes no difference here. */
const wrapper: SimulatedCommand = ({ args, exec, name }) => {
  const words = withoutOptions(args);
  return words.length === 0 ? fails(`${name}: missing operand`, 125) : exec(words);
};

const timeout: SimulatedCommand = async ({ args, exec, signal }) => {
  const [duration = "", ...words] = withoutOptions(args);
  const [, count, unit] = /^(\d{1,6}(?:\.\d+)?)([smh]?)$/.exec(duration) ?? [];
  if (count === undefined || words.length === 0)
    return fails(`timeout: invalid time interval '${duration}'`, 125);
  const late = AbortSignal.timeout(Number(count) * ({ m: 60_000, h: 3_600_000 }[unit!] ?? 1_000));
  const ran = await exec(words, { signal: AbortSignal.any([signal, late]) });
  return late.aborted && !signal.aborted ? { ...ran, code: 124 } : ran;
};

function withoutOptions(args: readonly string[]): string[] {
  const words = [...args];
  while (words[0]?.startsWith("-") === true)
    if (["-s", "-k", "-n", "-c"].includes(words.shift()!)) words.shift();
  while (/^\w+=/.test(words[0] ?? "")) words.shift();
  return words;
}

const exportVariables: SimulatedCommand = ({ args, assign }) => {
  for (const word of args) {
    const [, name, value] = /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(word) ?? [];
    if (name !== undefined) assign(name, value!);
  }
  return prints("");
};

const set: SimulatedCommand = ({ args, endOnFailure }) => {
  for (const word of args) if (/^[-+]\w*e/.test(word)) endOnFailure(word.startsWith("-"));
  return prints("");
};

/** `[ … ]` with one question in it. */
const test: SimulatedCommand = (call) => {
  const words = [...call.args];
  if (call.name === "[" && words.pop() !== "]") return fails("bash: [: missing `]'", 2);
  const negated = words[0] === "!";
  const answer = holds(call, negated ? words.slice(1) : words);
  if (answer === null) return fails("bash: [: the demo machine does not understand that question", 2);
  return { out: "", err: "", code: answer === negated ? 1 : 0 };
};

function holds({ guest, account }: Call, [one, two, three, ...more]: readonly string[]): boolean | null {
  if (more.length > 0) return null;
  if (three !== undefined) {
    const numbers: Record<string, (a: number, b: number) => boolean> = {
      "-eq": (a, b) => a === b,
      "-ne": (a, b) => a !== b,
      "-lt": (a, b) => a < b,
      "-le": (a, b) => a <= b,
      "-gt": (a, b) => a > b,
      "-ge": (a, b) => a >= b,
    };
    if (two === "=" || two === "==") return one === three;
    if (two === "!=") return one !== three;
    return Object.hasOwn(numbers, two!) ? numbers[two!]!(Number(one), Number(three)) : null;
  }
  if (two === undefined) return one !== undefined && one !== "";
  if (one === "-z") return two === "";
  if (one === "-n") return two !== "";
  const path = resolvePath(account, two);
  const file = guest.disk.stat(path, guest.now());
  switch (one) {
    case "-d":
      return guest.disk.isFolder(path);
    case "-f":
      return file !== undefined;
    case "-e":
      return file !== undefined || guest.disk.isFolder(path);
    case "-s":
      return file !== undefined && file.size > 0;
    case "-r":
      return file !== undefined && mayRead(account, path, file);
    case "-x":
      return guest.disk.isFolder(path) || (file !== undefined && file.mode.includes("x"));
    default:
      return null;
  }
}

export const shellCommands = {
  sh: shell,
  bash: shell,
  sudo,
  timeout,
  nice: wrapper,
  ionice: wrapper,
  nohup: wrapper,
  setsid: wrapper,
  env: wrapper,
  command: wrapper,
  exec: wrapper,
  export: exportVariables,
  set,
  test,
  "[": test,
};
