import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { onTestFinished } from "vitest";
import { accountRunner } from "../../src/server/agent/runner/account.ts";
import { openRunner, type Runner } from "../../src/server/agent/runner/runner.ts";
import { canHaveAccounts, makeAccount } from "./account.ts";
import { isolations } from "./stage.ts";

/** Each kind of Runner, and what is inside where it is a program of its own. */
export type Kind =
  | "bubblewrap"
  | "none"
  | "account, without a cage"
  | "account, in a cage"
  | "runner, without a cage"
  | "runner, in a cage";

const caged = isolations.includes("bubblewrap");
/** What can be tried on this machine. In CI all of it. */
export const kinds: readonly Kind[] = [
  ...(caged ? (["bubblewrap", "runner, in a cage"] as const) : []),
  ...(canHaveAccounts ? (["account, without a cage"] as const) : []),
  ...(canHaveAccounts && caged ? (["account, in a cage"] as const) : []),
  "none",
  "runner, without a cage",
];

export interface Opened {
  readonly runner: Runner;
  readonly root: string;
  readonly sessionsDir: string;
  /** The runner's own process, where it is one: found when asked. */
  readonly program: () => number;
  /** Where nobody else starts it again when it has died. */
  readonly restart: () => Promise<void>;
}

/** A Runner of this kind whose agent is `executable`; everything is gone when the test ends. */
export async function openKind(kind: Kind, executable: string): Promise<Opened> {
  const root = mkdtempSync(join(tmpdir(), "bg-runner-"));
  chmodSync(root, 0o755);
  const sessionsDir = join(root, "sessions");
  const cage = kind.endsWith("in a cage") ? "bubblewrap" : "none";
  const done = (runner: Runner, end: () => void = () => {}) =>
    onTestFinished(async () => {
      await runner.close();
      end();
      rmSync(root, { recursive: true, force: true });
    });
  const restart = async () => {};
  if (kind === "bubblewrap" || kind === "none") {
    const runner = openRunner({ isolation: { kind }, sessionsDir, readable: [] });
    done(runner);
    return { runner, root, sessionsDir, program: () => -1, restart };
  }
  if (kind.startsWith("account")) {
    const account = makeAccount();
    const runner = accountRunner({ account: account.name, sessionsDir, readable: [], executable, cage });
    done(runner, () => account.remove());
    return { runner, root, sessionsDir, program: () => programOf(sessionsDir), restart };
  }
  mkdirSync(sessionsDir);
  const socketPath = join(root, "runner.sock");
  const args = ["--socket", socketPath, "--sessions", sessionsDir, "--claude", executable, "--cage", cage];
  let program = await startProgram(args);
  const runner = openRunner({ isolation: { kind: "runner", socketPath }, sessionsDir, readable: [] });
  done(runner, () => program.kill("SIGTERM"));
  return {
    runner,
    root,
    sessionsDir,
    program: () => program.pid ?? -1,
    restart: async () => void (program = await startProgram(args)),
  };
}

/** The runner program that keeps its agents' things there. */
function programOf(sessionsDir: string): number {
  const pid = readdirSync("/proc").find((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes(`\0--sessions\0${sessionsDir}\0`);
    } catch {
      return false;
    }
  });
  return Number(pid ?? -1);
}

/** `breakglass runner`, as a person starts it; resolves when it listens. */
export async function startProgram(
  args: readonly string[],
  /** Words before the command. */
  within: readonly string[] = [],
): Promise<ChildProcess> {
  const words = [...within, process.execPath, resolve("src/cli/main.mjs"), "runner", ...args];
  const child = spawn(words[0] ?? "", words.slice(1), {
    env: { PATH: "/usr/bin:/bin", HOME: "/nowhere" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await new Promise<void>((fulfil, reject) => {
    child.stdout.once("data", () => fulfil());
    child.once("exit", (code) => reject(new Error(`the runner ended (${code}): ${said}`)));
  });
  return child;
}
