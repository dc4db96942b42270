import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { findKeptFolder } from "../../src/server/ssh/runtime-folder.ts";
import { scratchFolder } from "../doubles/sessions.ts";

export interface RunningServer {
  readonly child: ChildProcess;
  /** `http://127.0.0.1:port` */
  readonly origin: string;
  /** The whole one-time link, if one was printed. */
  readonly link: string | null;
  /** All that was written to stderr so far. */
  readonly said: () => string;
  /** Sends the signal and resolves with the exit code, or null for a signal's death. */
  readonly end: (signal: NodeJS.Signals) => Promise<number | null>;
}

/**
 * The real server as a process of its own, as `npm start` runs it. `env` is the whole configuration; HOME is a fresh
 * folder unless it is given, so that a second start finds what the first one left.
 */
export async function startServer(
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly demo?: boolean;
    /** Words before the command, for example those of bwrap. */
    readonly within?: readonly string[];
  } = {},
): Promise<RunningServer> {
  const env = {
    PATH: process.env["PATH"],
    HOME: options.env?.["HOME"] ?? scratchFolder(),
    BREAKGLASS_LISTEN: "127.0.0.1:0",
    ...options.env,
  };
  const [command = "", ...args] = [
    ...(options.within ?? []),
    process.execPath,
    "src/server/main.mjs",
    ...((options.demo ?? true) ? ["--demo"] : []),
  ];
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const exited = once(child, "close") as Promise<[number | null]>;
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
    forget(env["BREAKGLASS_DATA_DIR" as keyof typeof env] ?? join(env.HOME, ".local/state/breakglass"));
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  let origin: string | null = null;
  let link: string | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /listens on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (address !== undefined) origin = `http://${address}`;
    link = /https?:\/\/\S+#k=\S+/.exec(line)?.[0] ?? link;
    origin ??= link === null ? null : new URL(link).origin;
    const hasToken = env["API_BEARER_TOKEN" as keyof typeof env] !== undefined;
    if (origin !== null && (link !== null || (hasToken && options.demo === false))) break;
  }
  if (origin === null) await exited;
  if (origin === null) throw new Error(`the server did not start: ${stderr}`);
  child.stdout.resume();
  return {
    child,
    origin,
    link,
    said: () => stderr,
    async end(signal) {
      child.kill(signal);
      return (await exited)[0];
    },
  };
}

/** What outlives a server in memory. */
export function forget(dataDir: string): void {
  for (const each of [dataDir, join(dataDir, "demo")]) {
    const kept = findKeptFolder(each);
    if (kept !== null) rmSync(kept, { recursive: true });
  }
}

/** A client that has traded the server's link for a cookie. */
export async function signIn({ origin, link }: RunningServer) {
  const response = await fetch(`${origin}/api/login`, {
    method: "POST",
    body: JSON.stringify({ link: link?.split("#k=")[1] }),
  });
  const cookie = response.headers.get("set-cookie")?.split(";")[0] ?? "";
  const headers = { cookie, origin };
  return {
    headers,
    async ask(method: string, path: string, body?: unknown) {
      const answer = await fetch(origin + path, {
        method,
        headers,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      return {
        status: answer.status,
        body:
          text.startsWith("{") || text.startsWith("[") ? (JSON.parse(text) as Record<string, unknown>) : {},
      };
    },
  };
}
