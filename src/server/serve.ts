import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import type { Config, Problem } from "./config/config.ts";
import { readConfig } from "./config/read.ts";
import { createSecurityHeaders } from "./auth/security-headers.ts";
import type { Log, Server } from "./compose.ts";
import type { Demo } from "./demo.ts";
import { listen } from "./http/listen.ts";
import { programPath } from "./process/programs.ts";

export interface ServeOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Bring up the embedded Target when nothing is configured. */
  readonly wantsDemo: boolean;
  readonly ownAddresses: readonly string[];
}

/** An orderly end has so long; then the process ends all the same. The record is on disk either way. */
const closeMs = 4_500;

/** Reads the settings, starts the server, says where it is, and ends it in order on SIGTERM and SIGINT. */
export async function serve({ env, wantsDemo, ownAddresses }: ServeOptions): Promise<void> {
  const {
    config: read,
    problems,
    warnings,
  } = await readConfig(env, (path) => readFileSync(path, "utf8"), ownAddresses);
  if (read === null) {
    const wrong = problems.map((problem) => `- ${sentence(problem)}`);
    return fail(
      `The server did not start. Mend this and start it again; nothing was changed.\n${wrong.join("\n")}`,
    );
  }
  const https = read.publicUrl?.startsWith("https:") ?? false;
  const listening = await listen({
    ...read.listen,
    headers: createSecurityHeaders({ https })("/health"),
  }).catch((error: Error) =>
    fail(`The server did not start: it cannot listen (${error.message}). Choose another BREAKGLASS_LISTEN.`),
  );
  if (listening === undefined) return;

  let running: Running | null = null;
  endInOrder(() => running);
  const { compose, createLog, endIfStuck, killAll, startDemo } = await loadRooms();
  const isDemo = wantsDemo && read.nothingConfigured;
  const log = createLog(isDemo ? "warn" : "info");
  // That no Target is configured is why there is a demo.
  const findings = [...problems, ...warnings].filter(
    ({ option }) => !(isDemo && option === "BREAKGLASS_DEVVM_HOST"),
  );
  for (const finding of findings) log.warn(sentence(finding));
  // A mistake of ours in one corner must not take the power path along: this process is what a machine depends on.
  process.on("unhandledRejection", (error) => log.error(error, "something failed that nobody waited for"));

  const path = programPath(env);
  let server: Server;
  let config: Config;
  try {
    const demo = isDemo ? await startDemo(path) : null;
    config = demo ? demoConfig(read, demo) : read;
    server = await compose({
      config,
      problems: findings,
      demo,
      log,
      listening,
      path,
      agentEnv: passedOn(env),
    });
  } catch (error) {
    killAll();
    await listening.close(0);
    return fail(`The server did not start. ${error instanceof Error ? error.message : String(error)}`);
  }
  running = { server, log, clearUp: () => (killAll(), endIfStuck()) };
  announce(config, listening.port, server, isDemo);
}

/**
 * One room after the other, with a turn of the event loop in between: loaded in one go they would hold the port, which is
 * already taken, for a tenth of a second.
 */
async function loadRooms() {
  const rooms = [
    () => import("./auth/auth.ts"),
    () => import("./store/files/files.ts"),
    () => import("./power/power.ts"),
    () => import("./ssh/ssh.ts"),
    () => import("./broker/broker.ts"),
    () => import("./agent/claude/agent.ts"),
    () => import("./sessions/sessions.ts"),
    () => import("hono"),
    () => import("@hono/node-server"),
    () => import("./http/app.ts"),
  ];
  for (const load of rooms) {
    await load();
    await turn();
  }
  const { createLog } = await import("./log.ts");
  const { killAll } = await import("./process/start.ts");
  const { endIfStuck } = await import("./process/end-if-stuck.ts");
  const { startDemo } = await import("./demo.ts");
  const { compose } = await import("./compose.ts");
  return { compose, createLog, endIfStuck, killAll, startDemo };
}

/** Only what a network needs: the agent gets nothing else of our environment. */
function passedOn(env: ServeOptions["env"]): Record<string, string> {
  const names = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "TZ",
    "LANG",
  ];
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}

function demoConfig(config: Config, demo: Demo): Config {
  const { guest, hypervisor } = demo;
  return {
    ...config,
    // Apart from a real deployment's record on the same machine.
    dataDir: join(config.dataDir, "demo"),
    sessionsDir: join(config.dataDir, "demo", "sessions"),
    keyPath: demo.privateKeyPath,
    targets: [
      {
        name: "devvm",
        guest: { host: guest.host, port: guest.port, user: guest.user, observeUser: guest.observeUser },
        power: { host: hypervisor.host, port: hypervisor.port, user: hypervisor.user },
      },
    ],
  };
}

/** On the terminal, once: where the page is, and the link that opens it. */
function announce(config: Config, port: number, server: Server, isDemo: boolean): void {
  const { host } = config.listen;
  const origin = config.publicUrl ?? `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const hasCredential = config.auth.tokens.length > 0 || config.auth.trustedProxies.length > 0;
  const lines = isDemo
    ? ["Breakglass runs with a demo machine, since nothing is configured (docs/configuration.md)."]
    : [`Breakglass listens on ${host}:${port}.`];
  if (isDemo || !hasCredential) {
    lines.push(
      "Open this link; it works once, within 10 minutes (npm run link prints another):",
      "",
      `  ${origin}/#k=${server.mintLink()}`,
      "",
    );
  }
  process.stdout.write(`${lines.join("\n")}\n`);
}

interface Running {
  readonly server: Server;
  readonly log: Log;
  /** The very last before the exit. */
  readonly clearUp: () => void;
}

/** Before there is a server there is nothing to settle. */
function endInOrder(running: () => Running | null): void {
  let ending = false;
  const end = (signal: NodeJS.Signals) => {
    if (ending) return;
    ending = true;
    const now = running();
    if (now === null) return process.exit(0);
    const { server, log, clearUp } = now;
    log.info(`${signal}: ending in order`);
    const leave = () => {
      clearUp();
      process.exit(0);
    };
    setTimeout(() => {
      log.warn("the end took too long; what was not settled will be at the next start");
      leave();
    }, closeMs);
    server.close().then(leave, (error: unknown) => {
      log.error(error, "the end was not in order; what was not settled will be at the next start");
      leave();
    });
  };
  process.on("SIGTERM", end).on("SIGINT", end);
}

function sentence({ option, value, mend }: Problem): string {
  return `${option} (${value}): ${mend}`;
}

function fail(text: string): void {
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}
