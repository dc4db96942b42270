import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync, watch } from "node:fs";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostResult, type HostReport } from "../../src/protocol/outcome.ts";

export const breakglassHost = join(import.meta.dirname, "../../host/breakglass-host");

/** A folder with a qm of its own (test/host/qm), and the real forced command pointed at it. */
export async function makeHost(options: { readonly scale?: number } = {}) {
  const dir = await mkdtemp(join(tmpdir(), "breakglass-host-test-"));
  const file = (name: string) => join(dir, name);
  const config = file("conf");
  await copyFile(join(import.meta.dirname, "qm"), file("qm"));
  await writeFile(
    config,
    [
      `qm=${file("qm")}`,
      `pidfile=${file("%s.pid")}`,
      `run=${file("run")}`,
      `state=${file("state")}`,
      `log=${file("log")}`,
      `scale=${options.scale ?? 100}`,
      "",
    ].join("\n"),
  );
  const text = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), "utf8") : "");
  const pid = (vmid = 102) => Number(text(`${vmid}.pid`).trim() || Number.NaN);

  return {
    dir,
    file,
    config,
    text,
    pid,
    /** What qm was asked to do to the power, in order. */
    powerCalls: () =>
      text("calls")
        .split("\n")
        .filter((line) => /^(stop|start|reset) /.test(line)),
    fault: (verb: string, fault: string) => writeFile(file(`on-${verb}`), fault),
    mend: (verb: string) => rm(file(`on-${verb}`), { force: true }),
    openGate: (verb: string) => writeFile(file(`go-${verb}`), ""),
    /** Resolves once the named file holds `part`. */
    saw: (name: string, part: string) => until(dir, () => text(name).includes(part)),
    run: (command: string | Buffer, vmids: readonly (number | string)[] = [102]) =>
      finished(startHost(command, ["--config", config, ...vmids.map(String)])),
    async end() {
      for (const vmid of [102, 1021]) kill(pid(vmid));
      for (const hung of text("hung").split("\n")) kill(Number(hung || Number.NaN));
      await rm(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

export type Host = Awaited<ReturnType<typeof makeHost>>;

export interface Ended extends HostReport {
  readonly result: Readonly<Record<string, unknown>>;
  readonly machine: readonly Readonly<Record<string, unknown>>[];
}

/** As sshd starts it. The words go through perl, since Node can put no bytes but UTF-8 into an environment. */
export function startHost(command: string | Buffer, args: readonly string[]): ChildProcess {
  const child = spawn(
    "perl",
    ["-e", "undef $/; $ENV{SSH_ORIGINAL_COMMAND} = <STDIN>; exec @ARGV", "--", breakglassHost, ...args],
    {
      stdio: ["pipe", "pipe", "pipe"],
      env: { PATH: "/usr/bin:/bin", BASH_ENV: "/nonexistent", "BASH_FUNC_parse%%": "() { :; }" },
    },
  );
  child.stdin.end(command);
  return child;
}

export function finished(child: ChildProcess): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exit_code) => resolve({ exit_code, stdout, stderr, ...machineLines(stdout) }));
  });
}

function machineLines(stdout: string) {
  const machine = stdout
    .split("\n")
    .filter((line) => line.startsWith("BG1 "))
    .map((line) => JSON.parse(line.slice(4)) as Record<string, unknown>);
  return { machine, result: (hostResult(stdout) ?? {}) as Record<string, unknown> };
}

/** Alive and no zombie: where nobody reaps orphans a killed process stays. */
export function lives(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

export function kill(pid: number): void {
  // Some pid files of these tests name what must never be ended.
  if (pid > 1 && lives(pid)) process.kill(pid, "SIGKILL");
}

/** Waits for something in a folder to become true; looked at whenever a file in it changes. */
export function until(dir: string, holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!holds()) return;
      watcher.close();
      clearInterval(again);
      resolve();
    };
    const watcher = watch(dir, { recursive: false }, look);
    // A change between two looks may be told too early.
    const again = setInterval(look, 100);
    look();
  });
}
