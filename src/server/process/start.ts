import { ChildProcess, spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import { signal } from "./signal.ts";

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment of the child: nothing of ours passes by itself. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: "pipe" | "ignore";
}

/** A signal leaves no exit code: `code ?? 0` would be a lie. */
export type Exit =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "signalled"; readonly signal: NodeJS.Signals }
  | { readonly kind: "not_started"; readonly error: Error };

export interface Running {
  readonly child: ChildProcess;
  /** null only where "ignore" was asked for. What is written to a process that never started goes nowhere. */
  readonly stdin: Writable | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when the process has ended and its output is closed; never rejects. */
  readonly exit: Promise<Exit>;
  /** Signals the whole process group; harmless when it is gone. */
  kill(signal?: NodeJS.Signals): void;
  /**
   * SIGKILL, and the pipes are closed on this side too: what was handed them (an ssh master, say) may hold them open long
   * after the process itself has died, and `exit` would wait for it. What they still held is lost.
   */
  abandon(): void;
}

const living = new Set<Running>();

/**
 * The one place where processes start: list argv, no shell, a process group of its own, an environment that is named.
 * Never throws: what could not be started has nothing to say, and `exit` tells why.
 */
export function start(command: Command): Running {
  const child = spawned(command);
  const exit = new Promise<Exit>((resolve) => {
    child.once("error", (error) => {
      // "error" also reports a failed kill; only a process without a pid never started.
      if (child.pid === undefined) resolve({ kind: "not_started", error });
    });
    child.once("close", (code, signal) => {
      if (signal !== null) resolve({ kind: "signalled", signal });
      else if (code !== null && child.pid !== undefined) resolve({ kind: "exited", code });
    });
  });
  // A child that closes its stdin early is no error of ours; its exit tells what happened.
  child.stdin?.on("error", () => {});
  const running: Running = {
    child,
    // Node leaves them undefined when file descriptors ran out (EMFILE, ENFILE).
    stdin: child.stdin ?? (command.stdin === "pipe" ? nowhere() : null),
    stdout: child.stdout ?? Readable.from([]),
    stderr: child.stderr ?? Readable.from([]),
    exit,
    kill: (signal = "SIGKILL") => killGroup(child, signal),
    abandon() {
      killGroup(child, "SIGKILL");
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
  };
  living.add(running);
  void exit.then(() => living.delete(running));
  return running;
}

/** Last resort when the server ends: whatever still runs goes with it. */
export function killAll(): void {
  for (const running of living) running.kill("SIGKILL");
}

/** Some errors Node throws (E2BIG, ENOMEM), others it emits (ENOENT, EMFILE): here all are emitted. */
function spawned(command: Command): ChildProcess {
  try {
    return spawn(command.file, command.args, {
      cwd: command.cwd,
      env: { ...command.env },
      stdio: [command.stdin ?? "ignore", "pipe", "pipe"],
      detached: true,
    });
  } catch (error) {
    const child = new ChildProcess();
    process.nextTick(() => child.emit("error", error as Error));
    return child;
  }
}

function nowhere(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() });
}

function killGroup(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid !== undefined) signal(-child.pid, name);
}
