import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";

const canPin = spawnSync("taskset", ["-c", "0", "true"]).status === 0;

/** Starts Node with a script on one core, so that what it costs can be told from what the clients cost. */
export function startPinned(
  core: number,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  stderr: "inherit" | "ignore" = "inherit",
): ChildProcess {
  const command = canPin
    ? ["taskset", "-c", String(core), process.execPath, ...args]
    : [process.execPath, ...args];
  return spawn(command[0]!, command.slice(1), { env, stdio: ["pipe", "pipe", stderr] });
}

/** Sends one line of JSON to a child and resolves with the next line it answers. */
export function talkTo(child: ChildProcess): (message: unknown) => Promise<unknown> {
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return async (message) => {
    if (message !== undefined) child.stdin!.write(`${JSON.stringify(message)}\n`);
    const line = await lines.next();
    if (line.done) throw new Error("the process ended before it answered");
    return JSON.parse(line.value);
  };
}

/** Runs this very process on one core. */
export function pinSelf(core: number): void {
  if (canPin) spawnSync("taskset", ["-a", "-p", "-c", String(core), String(process.pid)]);
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

export function percentile(values: readonly number[], share: number): number {
  return (
    values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
    Number.NaN
  );
}
