import type { Account, Guest } from "./guest.ts";
import { mayRun, mayWrite, resolvePath } from "./access.ts";
import { commands } from "./commands/index.ts";
import { fails, type Call, type Ran } from "./commands/call.ts";
import { globMatches } from "./glob.ts";
import { parse, SyntaxProblem, Unsupported, type Command, type Redirect, type Word } from "./parse.ts";

/** A longer line is refused as the kernel would. */
const lineCharsMax = 64 * 1024;
/** Of one command's output; what comes after is dropped, and a line says so. */
const outputCharsMax = 256 * 1024;
/** `sh -c 'sh -c …'` and its like. */
const depthMax = 8;
/** Simulated commands of one line, those of its scripts and substitutions included; then it ends. */
const commandsMax = 2_000;

export interface Surroundings {
  /** Asked for once at most, by the first command that reads. Rejects with a sentence. */
  readonly stdin?: () => Promise<string>;
  /** Ends the line between two commands, and whatever sleeps. */
  readonly signal?: AbortSignal;
}

/**
 * Runs one line in the demo guest's simulated shell: a closed list of commands over the guest's own state. It has no way
 * to start a process, open a file or reach the network, so that nothing sent to it can happen on this machine.
 */
export async function runLine(
  guest: Guest,
  account: Account,
  line: string,
  { stdin = async () => "", signal = new AbortController().signal }: Surroundings = {},
): Promise<Ran> {
  const budget = { commandsLeft: commandsMax };
  return runIn(
    { guest, account, signal, budget, depth: 0, stdin: once(stdin), words: [], variables: new Map() },
    line,
  );
}

interface Shell {
  readonly guest: Guest;
  readonly account: Account;
  readonly depth: number;
  readonly stdin: () => Promise<string>;
  readonly signal: AbortSignal;
  /** Shared by everything that one line brings about. */
  readonly budget: { commandsLeft: number };
  /** `$0`, `$1`, … */
  readonly words: readonly string[];
  readonly variables: ReadonlyMap<string, string>;
}

interface State extends Shell {
  readonly variables: Map<string, string>;
  /** What its substitutions have said on stderr. */
  err: string;
  /** `set -e`. */
  endsOnFailure: boolean;
  /** Of the last command: `$?`. */
  code: number;
}

async function runIn(shell: Shell, line: string): Promise<Ran> {
  if (line.length > lineCharsMax) return fails("bash: Argument list too long", 126);
  if (shell.depth > depthMax) return fails("bash: too many shells inside one another on the demo machine", 2);
  let steps;
  try {
    steps = parse(line);
  } catch (error) {
    if (error instanceof Unsupported)
      return fails(
        `bash: this is the demo machine's simulated shell, which has no ${error.message}. Nothing was run.`,
        2,
      );
    if (error instanceof SyntaxProblem) return fails(`bash: -c: line 1: ${error.message}`, 2);
    throw error;
  }
  const variables = new Map(shell.variables);
  const state: State = { ...shell, variables, err: "", endsOnFailure: false, code: 0 };
  let out = "";
  for (const [at, step] of steps.entries()) {
    if ((step.when === "succeeded" && state.code !== 0) || (step.when === "failed" && state.code === 0))
      continue;
    if (shell.signal.aborted) return { out: bounded(out), err: bounded(state.err), code: 137 };
    const [first] = step.pipeline;
    if (step.pipeline.length === 1 && first !== undefined && isExit(first)) {
      const [, given] = await expandAll(state, first.words);
      if (given !== undefined) state.code = (Number.parseInt(given, 10) || 0) & 255;
      break;
    }
    let stdin = state.stdin;
    let printed = "";
    for (const command of step.pipeline) {
      const ran = await runCommand(state, command, stdin);
      printed = ran.out;
      stdin = once(async () => ran.out);
      state.err += ran.err;
      state.code = ran.code;
    }
    out += printed;
    const tested = steps[at + 1] !== undefined && steps[at + 1]!.when !== "always";
    if (state.endsOnFailure && state.code !== 0 && !tested) break;
  }
  return { out: bounded(out), err: bounded(state.err), code: state.code };
}

/** Whoever comes second meets the end of it. */
function once(read: () => Promise<string>): () => Promise<string> {
  let taken = false;
  return async () => {
    if (taken) return "";
    taken = true;
    return read();
  };
}

function isExit({ words }: Command): boolean {
  const [word] = words;
  return word?.length === 1 && word[0]!.kind === "text" && word[0]!.text === "exit";
}

async function runCommand(shell: State, command: Command, stdin: () => Promise<string>): Promise<Ran> {
  if (shell.budget.commandsLeft-- <= 0)
    return fails(`bash: fork: more than ${commandsMax} commands are too many for the demo machine`, 254);
  const words = await expandAll(shell, command.words);
  const assigned: [string, string][] = [];
  for (let found; (found = /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(words[0] ?? "")) !== null; words.shift())
    assigned.push([found[1]!, found[2]!]);
  // Before a command they would be its environment, which nothing here reads.
  if (words.length === 0) for (const [name, value] of assigned) shell.variables.set(name, value);
  const targets: Target[] = [];
  for (const redirect of command.redirects) {
    const target = await prepare(shell, redirect);
    if (typeof target === "string") return fails(target, 1);
    targets.push(target);
  }
  const ran = words.length === 0 ? { out: "", err: "", code: 0 } : await exec(shell, words, stdin);
  return redirect(shell, ran, targets);
}

async function exec(
  shell: State,
  words: readonly string[],
  stdin: () => Promise<string>,
  how: { readonly as?: Account; readonly signal?: AbortSignal } = {},
): Promise<Ran> {
  const [word, ...args] = words as [string, ...string[]];
  const { as: account = shell.account, signal = shell.signal } = how;
  const name = word.replace(/^\/(usr\/)?s?bin\//, "");
  const run = Object.hasOwn(commands, name) ? commands[name] : undefined;
  const lineIn = (line: string, given: readonly string[], input = stdin) =>
    runIn({ ...shell, account, signal, stdin: input, words: given, depth: shell.depth + 1 }, line);
  if (run === undefined) {
    const program = word.includes("/") ? mayRun(shell.guest, account, word) : "command not found";
    if (typeof program !== "string") return lineIn(program.script, words);
    return fails(`bash: ${printable(word)}: ${program}`, program === "Permission denied" ? 126 : 127);
  }
  const call: Call = {
    guest: shell.guest,
    account,
    name,
    args,
    stdin,
    signal,
    exec: (argv, other) => exec(shell, argv, stdin, { as: account, signal, ...other }),
    line: lineIn,
    assign: (variable, value) => void shell.variables.set(variable, value),
    endOnFailure: (yes) => void (shell.endsOnFailure = yes),
  };
  return run(call);
}

async function expandAll(shell: State, words: readonly Word[]): Promise<string[]> {
  const expanded: string[] = [];
  for (const word of words) expanded.push(...(await expand(shell, word)));
  return expanded;
}

/** Words as the command gets them: values put in, patterns matched against the guest's own files. */
async function expand(shell: State, word: Word): Promise<string[]> {
  // What stands unquoted is cut at blanks, as in `ls $(cat list)`.
  const words: { text: string; pattern: string; isPattern: boolean }[] = [];
  let fresh = true;
  const add = (text: string, quoted: boolean) => {
    if (fresh) words.push({ text: "", pattern: "", isPattern: false });
    fresh = false;
    const last = words.at(-1)!;
    last.text += text;
    last.pattern += quoted ? text.replaceAll(/[*?\\]/g, "\\$&") : text;
    last.isPattern ||= !quoted && /[*?]/.test(text);
  };
  for (const [at, piece] of word.entries()) {
    if (piece.kind === "text") {
      const home = at === 0 && !piece.quoted && /^~(?=\/|$)/.test(piece.text) ? shell.account.home : "";
      add(home === "" ? piece.text : home + piece.text.slice(1), piece.quoted);
      continue;
    }
    const value = await valueOf(shell, piece);
    if (piece.quoted) {
      add(value, true);
      continue;
    }
    const parts = value.split(/[ \t\n]+/);
    for (const [n, part] of parts.entries()) {
      if (n > 0) fresh = true;
      if (part !== "") add(part, false);
    }
  }
  return words.flatMap(({ text, pattern, isPattern }) => {
    const found = isPattern ? glob(shell, text, pattern) : [];
    return found.length === 0 ? [text] : found;
  });
}

async function valueOf(shell: State, piece: Exclude<Word[number], { kind: "text" }>): Promise<string> {
  if (piece.kind === "variable") return variable(shell, piece.name);
  if (shell.budget.commandsLeft <= 0) return "";
  const { out, err } = await runIn({ ...shell, depth: shell.depth + 1 }, piece.line);
  shell.err += err;
  return out.replace(/\n+$/, "");
}

function glob({ guest, account }: Shell, text: string, pattern: string): string[] {
  const absolute = text.startsWith("/");
  const base = account.home === "/" ? "/" : `${account.home}/`;
  let paths = ["/"];
  for (const part of (absolute ? pattern : base + pattern).split("/").filter((name) => name !== "")) {
    paths = paths
      .flatMap((path) => guest.disk.list(path))
      .filter((path) => {
        const name = path.slice(path.lastIndexOf("/") + 1);
        return globMatches(part, name) && (part.startsWith(".") || !name.startsWith("."));
      });
  }
  return absolute ? paths : paths.map((path) => path.slice(base.length));
}

function variable({ account, code, variables, words }: State, name: string): string {
  if (/^\d$/.test(name)) return words[Number(name)] ?? (name === "0" ? "bash" : "");
  const known: Record<string, string> = {
    "?": String(code),
    "#": String(Math.max(0, words.length - 1)),
    "@": words.slice(1).join(" "),
    "*": words.slice(1).join(" "),
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    HOSTNAME: "devvm",
    PWD: account.home,
    SHELL: "/bin/bash",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  };
  return variables.get(name) ?? (Object.hasOwn(known, name) ? known[name]! : "");
}

type Target =
  | { readonly kind: "join"; readonly channel: 1 | 2; readonly to: 1 | 2 }
  | { readonly kind: "null"; readonly channel: 1 | 2 | "both" }
  | {
      readonly kind: "file";
      readonly channel: 1 | 2 | "both";
      readonly path: string;
      readonly append: boolean;
    };

/** A redirection's file is opened, and emptied, before the command runs. Answers the shell's complaint as a string. */
async function prepare(shell: State, redirect: Redirect): Promise<Target | string> {
  if (redirect.kind === "join") return redirect;
  const [name, ...more] = await expand(shell, redirect.target);
  if (name === undefined || more.length > 0) return "bash: ambiguous redirect";
  const { guest, account } = shell;
  const path = resolvePath(account, name);
  if (path === "/dev/null") return { kind: "null", channel: redirect.channel };
  if (!mayWrite(guest, account, path)) return `bash: ${printable(name)}: Permission denied`;
  if (!redirect.append) {
    const problem = guest.disk.write(path, "", account.name, guest.now());
    if (problem !== undefined) return `bash: ${printable(name)}: ${problem}`;
  }
  return { kind: "file", channel: redirect.channel, path, append: redirect.append };
}

/** In order, as the shell does it: `2>&1 >file` is not `>file 2>&1`. */
function redirect(shell: State, ran: Ran, targets: readonly Target[]): Ran {
  type Sink = 1 | 2 | null | string;
  const sinks: { 1: Sink; 2: Sink } = { 1: 1, 2: 2 };
  for (const target of targets) {
    if (target.kind === "join") sinks[target.channel] = sinks[target.to];
    else
      for (const channel of target.channel === "both" ? ([1, 2] as const) : [target.channel])
        sinks[channel] = target.kind === "null" ? null : target.path;
  }
  let { code } = ran;
  let out = "";
  let err = "";
  for (const [sink, text] of [
    [sinks[1], ran.out],
    [sinks[2], ran.err],
  ] as const) {
    if (sink === 1) out += text;
    else if (sink === 2) err += text;
    else if (sink !== null && text !== "") {
      const { disk } = shell.guest;
      const before = disk.stat(sink, shell.guest.now())?.text ?? "";
      const problem = disk.write(sink, bounded(before + text), shell.account.name, shell.guest.now());
      if (problem !== undefined) {
        err += `bash: write error: ${problem}\n`;
        code = 1;
      }
    }
  }
  return { out, err, code };
}

const bounded = (text: string) =>
  text.length <= outputCharsMax
    ? text
    : `${text.slice(0, outputCharsMax)}\n[the demo machine cuts output here]\n`;

const printable = (text: string) => JSON.stringify(text).slice(1, -1).slice(0, 200);
