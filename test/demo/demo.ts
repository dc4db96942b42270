import { spawn } from "node:child_process";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { parseReadyLine, type DemoReady } from "../../demo/ready.ts";

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The demo as the server starts it: a child process that says one line and ends with its stdin. */
export async function spawnDemo() {
  const child = spawn(process.execPath, [join(import.meta.dirname, "../../demo/main.mjs")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const ready = await new Promise<DemoReady>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const parsed = parseReadyLine(line);
      if (parsed !== undefined) resolve(parsed);
    });
    void exit.then((code) => reject(new Error(`the demo ended with ${code} before it was ready`)));
  });
  const ssh = (
    port: number,
    user: string,
    words: readonly string[],
    options: readonly string[] = [],
    input = "",
  ) =>
    run(
      "ssh",
      [...sshOptions(ready), ...options, "-p", String(port), "-l", user, "127.0.0.1", ...words],
      {},
      input,
    );
  return {
    child,
    exit,
    ready,
    dir: dirname(ready.controlPath),
    /** With ssh's own patience: a wedged machine is given up after two seconds. */
    guest: (command: string, user = ready.guest.user, input = "") =>
      ssh(ready.guest.port, user, [command], ["-o", "ConnectTimeout=2"], input),
    host: (command: string) => ssh(ready.hypervisor.port, ready.hypervisor.user, [command]),
    ssh,
    control: (request: unknown) => control(ready.controlPath, request),
    async end() {
      child.stdin.end();
      await exit;
    },
  };
}

export type RunningDemo = Awaited<ReturnType<typeof spawnDemo>>;

export const sshOptions = (ready: DemoReady) =>
  ["-F", "none", "-T", "-i", ready.privateKeyPath].concat(
    [
      "BatchMode=yes",
      "IdentitiesOnly=yes",
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
      "LogLevel=ERROR",
    ].flatMap((option) => ["-o", option]),
  );

export function run(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input = "",
): Promise<Ended> {
  const child = spawn(file, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C", ...env },
  });
  // Whoever wants none of it closes its end.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

function control(path: string, request: unknown): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(path, () => socket.write(`${JSON.stringify(request)}\n`));
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.once("error", reject);
    socket.once("end", () => resolve(JSON.parse(text) as Record<string, unknown>));
  });
}

/** Asks again until the answer is the one that is waited for. */
export async function eventually<T>(ask: () => Promise<T>, holds: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (holds(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
