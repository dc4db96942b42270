/** What stands in the output of ordinary commands. Everything that the stand-in says comes through here. */

export interface Mount {
  readonly at: string;
  readonly size: string;
  readonly free: string;
  readonly usedPercent: number;
}

/** Lines of `df -h`. */
export function mounts(text: string): Mount[] {
  return [...text.matchAll(/^\S+ +([\d.]+[KMGT]?) +[\d.]+[KMGT]? +([\d.]+[KMGT]?) +(\d+)% +(\/\S*)$/gm)].map(
    ([, size, free, used, at]) => ({ at: at!, size: size!, free: free!, usedPercent: Number(used) }),
  );
}

/** Lines of `systemctl --failed`. */
export function failedUnits(text: string): string[] {
  return [...text.matchAll(/^[●* ]*([\w@:.\\-]+\.(?:service|socket|timer|mount)) +\S+ +failed/gm)].map(
    ([, name]) => name!,
  );
}

export interface Kill {
  readonly when: string;
  readonly pid: string;
  readonly name: string;
  readonly rssMb: number;
}

/** The kernel's own words, with the journal's time before them. */
export function oomKills(text: string): Kill[] {
  const line =
    /^(\w{3} +\d+ [\d:]{8})\b.*Out of memory: Killed process (\d+) \(([^)]+)\).*?anon-rss:(\d+)kB/gm;
  return [...text.matchAll(line)].map(([, when, pid, name, kb]) => ({
    when: when!,
    pid: pid!,
    name: name!,
    rssMb: Math.round(Number(kb) / 1024),
  }));
}

/** `free -m`, in MiB. */
export function memory(
  text: string,
): { total: number; available: number; swapTotal: number; swapUsed: number } | undefined {
  const mem = /^Mem: +(\d+) +\d+ +\d+ +\d+ +\d+ +(\d+)/m.exec(text);
  const swap = /^Swap: +(\d+) +(\d+)/m.exec(text);
  if (mem === null) return undefined;
  return {
    total: Number(mem[1]),
    available: Number(mem[2]),
    swapTotal: Number(swap?.[1] ?? 0),
    swapUsed: Number(swap?.[2] ?? 0),
  };
}

export function load(text: string): { up: string; one: number } | undefined {
  const found = /up +(.*?), +\d+ users?, +load average: ([\d.]+)/.exec(text);
  return found === null ? undefined : { up: found[1]!.replaceAll(/ +/g, " "), one: Number(found[2]) };
}

/** Lines of `ps aux --sort=-rss`. */
export function consumers(text: string): { name: string; pid: string; rssMb: number }[] {
  return [...text.matchAll(/^(\S+) +(\d+) +[\d.]+ +[\d.]+ +\d+ +(\d+) +\S+ +(.+)$/gm)].map(
    ([, , pid, rss, command]) => ({
      name: command!.slice(0, 60),
      pid: pid!,
      rssMb: Math.round(Number(rss) / 1024),
    }),
  );
}

/** Lines of `du -ah`, largest first. */
export function largest(text: string): { size: string; path: string }[] {
  return [...text.matchAll(/^([\d.]+[KMGT]?)\t(\/\S*)$/gm)].map(([, size, path]) => ({
    size: size!,
    path: path!,
  }));
}

/** The largest log of at least a gigabyte; only a name that needs no quoting is ever put into a command. */
export function runawayLog(text: string): { size: string; path: string } | undefined {
  return largest(text).find(
    ({ size, path }) =>
      /[GT]$/.test(size) && /^\/var\/log\/[\w./-]+\.log$/.test(path) && !path.includes(".."),
  );
}

export interface Failure {
  readonly code: number;
  /** The last thing it said. */
  readonly said: string;
}

/** The agent's Bash tool says `Exit code N` before the output of what failed; undefined when it did not fail. */
export function failure(text: string): Failure | undefined {
  const code = /^Exit code (\d+)/m.exec(text)?.[1];
  if (code === undefined) return undefined;
  const lines = text
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^Exit code \d+/.test(line) && !line.startsWith("BG1 "));
  return { code: Number(code), said: lines.at(-1)?.trim() ?? "it said nothing" };
}

/** The Broker's own word, its first sentence: denied, expired, void, refused. The machine was never asked. */
export function refusal(text: string): string | undefined {
  const found = failure(text);
  return found?.code === 255 &&
    /denied|expired|void|refused|frozen|not run|nothing was run|not sent/i.test(found.said)
    ? found.said.replace(/^(?:ssh|scp|breakglass): /, "").replace(/(?<=[a-z)])\. [A-Z][\s\S]*$/, ".")
    : undefined;
}

/** ssh's own end, or the end of our patience: the machine was not reached. */
export const unreached = (text: string): boolean =>
  [124, 137, 255].includes(failure(text)?.code ?? 0) && refusal(text) === undefined;

/** What a text tells its reader to run: data, to everybody but a gullible agent. */
export function ordersIn(text: string): string[] {
  return [...text.matchAll(/`(ssh [^`\n]{1,2000})`/g)].map(([, order]) => order!);
}
