import type { Account, Guest } from "./guest.ts";
import { resolvePath } from "./access.ts";
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

/**
 * Runs one line in the demo guest's simulated shell: a closed list of commands over the guest's own state. It has no way
 * to start a process, open a file or reach the network, so that nothing sent to it can happen on this machine.
 */
export async function runLine(guest: Guest, account: Account, line: string, depth = 0): Promise<Ran> {
  if (line.length > lineCharsMax) return fails("bash: Argument list too long", 126);
  if (depth > depthMax) return fails("bash: too many shells inside one another on the demo machine", 2);
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
  const shell = { guest, account, depth, code: 0 };
  let out = "";
  let err = "";
  for (const step of steps) {
    if ((step.when === "succeeded" && shell.code !== 0) || (step.when === "failed" && shell.code === 0))
      continue;
    let stdin = "";
    const [first] = step.pipeline;
    if (step.pipeline.length === 1 && first !== undefined && isExit(first)) {
      const [, given] = first.words.flatMap((word) => expand(shell, word));
      if (given !== undefined) shell.code = (Number.parseInt(given, 10) || 0) & 255;
      break;
    }
    for (const command of step.pipeline) {
      const ran = await runCommand(shell, command, stdin);
      stdin = ran.out;
      err += ran.err;
      shell.code = ran.code;
    }
    out += stdin;
  }
  return { out: bounded(out), err: bounded(err), code: shell.code };
}

interface Shell {
  readonly guest: Guest;
  readonly account: Account;
  readonly depth: number;
  /** Of the last command: `$?`. */
  code: number;
}

function isExit({ words }: Command): boolean {
  const [word] = words;
  return word?.length === 1 && word[0]!.kind === "text" && word[0]!.text === "exit";
}

async function runCommand(shell: Shell, command: Command, stdin: string): Promise<Ran> {
  const words = command.words.flatMap((word) => expand(shell, word));
  while (/^[A-Za-z_]\w*=/.test(words[0] ?? "")) words.shift();
  const targets = command.redirects.map((redirect) => prepare(shell, redirect));
  const refused = targets.find((target) => typeof target === "string");
  if (typeof refused === "string") return fails(refused, 1);
  const ran = words.length === 0 ? { out: "", err: "", code: 0 } : await exec(shell, words, stdin);
  return redirect(shell, ran, targets as Target[]);
}

async function exec(shell: Shell, words: readonly string[], stdin: string, as?: Account): Promise<Ran> {
  const [word, ...args] = words as [string, ...string[]];
  const account = as ?? shell.account;
  const name = word.replace(/^\/(usr\/)?s?bin\//, "");
  const run = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (run === undefined) {
    const missing = word.includes("/") ? "No such file or directory" : "command not found";
    return fails(`bash: ${printable(word)}: ${missing}`, 127);
  }
  const call: Call = {
    guest: shell.guest,
    account,
    name,
    args,
    stdin,
    exec: (argv, other) => exec(shell, argv, stdin, other ?? account),
    line: (line, other) => runLine(shell.guest, other ?? account, line, shell.depth + 1),
  };
  return run(call);
}

/** Words as the command gets them: variables put in, patterns matched against the guest's own files. */
function expand(shell: Shell, word: Word): string[] {
  let text = "";
  let pattern = "";
  let isPattern = false;
  for (const piece of word) {
    const value = piece.kind === "variable" ? variable(shell, piece.name) : piece.text;
    text += value;
    if (piece.kind === "text" && !piece.quoted && /[*?]/.test(value)) {
      isPattern = true;
      pattern += value;
    } else pattern += value.replaceAll(/[*?\\]/g, "\\$&");
  }
  if (text.startsWith("~")) return [text.replace(/^~/, shell.account.home)];
  if (!isPattern) return text === "" && word.every((piece) => piece.kind === "variable") ? [] : [text];
  const found = glob(shell, text, pattern);
  return found.length === 0 ? [text] : found;
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

function variable({ account, code }: Shell, name: string): string {
  const known: Record<string, string> = {
    "?": String(code),
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    HOSTNAME: "devvm",
    PWD: account.home,
    SHELL: "/bin/bash",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  };
  return Object.hasOwn(known, name) ? known[name]! : "";
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
function prepare(shell: Shell, redirect: Redirect): Target | string {
  if (redirect.kind === "join") return redirect;
  const [name, ...more] = expand(shell, redirect.target);
  if (name === undefined || more.length > 0) return "bash: ambiguous redirect";
  const path = resolvePath(shell.account, name);
  if (path === "/dev/null") return { kind: "null", channel: redirect.channel };
  if (shell.account.uid !== 0 && !path.startsWith("/tmp/"))
    return `bash: ${printable(name)}: Permission denied`;
  if (!redirect.append) {
    const problem = shell.guest.disk.write(path, "", shell.account.name, shell.guest.now());
    if (problem !== undefined) return `bash: ${printable(name)}: ${problem}`;
  }
  return { kind: "file", channel: redirect.channel, path, append: redirect.append };
}

/** In order, as the shell does it: `2>&1 >file` is not `>file 2>&1`. */
function redirect(shell: Shell, ran: Ran, targets: readonly Target[]): Ran {
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
