import type { Account, Guest } from "../guest.ts";

export interface Ran {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** What a simulated command gets: the guest's state, never the machine that the demo runs on. */
export interface Call {
  readonly guest: Guest;
  readonly account: Account;
  /** As it was called, without its folder. */
  readonly name: string;
  readonly args: readonly string[];
  /** What comes down the pipe or over the line, when it has ended; the second who asks gets nothing. */
  readonly stdin: () => Promise<string>;
  /** Aborted when whoever waits for the command has ended it. */
  readonly signal: AbortSignal;
  /** Another command of the list, as the same account or another. */
  readonly exec: (
    argv: readonly string[],
    how?: { readonly as?: Account; readonly signal?: AbortSignal },
  ) => Promise<Ran>;
  /** A shell of its own for this text, with its `$0`, `$1`, … */
  readonly line: (line: string, words: readonly string[], stdin?: () => Promise<string>) => Promise<Ran>;
  /** A variable of the shell. */
  readonly assign: (name: string, value: string) => void;
  /** `set -e`. */
  readonly endOnFailure: (yes: boolean) => void;
}

export type SimulatedCommand = (call: Call) => Ran | Promise<Ran>;

export const prints = (out: string): Ran => ({ out, err: "", code: 0 });
export const printsLines = (lines: readonly string[]): Ran =>
  prints(lines.map((line) => `${line}\n`).join(""));
export const fails = (message: string, code = 1): Ran => ({ out: "", err: `${message}\n`, code });

/** Options and operands told apart: `-n 5`, `-n5`, `--lines=5` and `-5` (as `5`) where `valued` names what takes a value. */
export function options(
  args: readonly string[],
  valued = "",
): { flags: Map<string, string>; rest: string[] } {
  const flags = new Map<string, string>();
  const rest: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at]!;
    if (word === "--") {
      rest.push(...args.slice(at + 1));
      break;
    }
    if (word.startsWith("--")) {
      const [name, value] = word.slice(2).split(/=(.*)/s);
      flags.set(name!, value ?? "");
    } else if (/^-\d+$/.test(word)) flags.set("number", word.slice(1));
    else if (word.startsWith("-") && word !== "-") {
      for (let letter = 1; letter < word.length; letter++) {
        const flag = word[letter]!;
        if (!valued.includes(flag)) flags.set(flag, "");
        else {
          flags.set(flag, word.slice(letter + 1) || (args[++at] ?? ""));
          break;
        }
      }
    } else rest.push(word);
  }
  return { flags, rest };
}

/** 1536 -> "1.5K", as `-h` does it: one digit below ten, rounded up. */
export function human(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < 4; unit++) value /= 1024;
  const shown = value < 10 && unit > 0 ? (Math.ceil(value * 10) / 10).toFixed(1) : String(Math.ceil(value));
  return `${shown}${["", "K", "M", "G", "T"][unit]}`;
}

/** Columns of text, each as wide as its widest cell; `right` names those that stand to the right. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          right.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join(" ")
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join("");
}
