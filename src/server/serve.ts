import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config, Problem } from "./config/config.ts";
import { readConfig } from "./config/read.ts";
import { compose, type Log, type Server } from "./compose.ts";
import { startDemo, type Demo } from "./demo.ts";
import { createLog } from "./log.ts";
import { killAll } from "./process/start.ts";

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
  const isDemo = wantsDemo && read?.nothingConfigured === true;
  const log = createLog(isDemo ? "warn" : "info");
  // That no Target is configured is why there is a demo.
  const findings = [...problems, ...warnings].filter(
    ({ option }) => !(isDemo && option === "BREAKGLASS_DEVVM_HOST"),
  );
  if (read === null) {
    const wrong = problems.map((problem) => `- ${sentence(problem)}`);
    return fail(
      `The server did not start. Mend this and start it again; nothing was changed.\n${wrong.join("\n")}`,
    );
  }
  for (const finding of findings) log.warn(sentence(finding));

  const path = env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
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
      path,
      agentEnv: passedOn(env),
    });
  } catch (error) {
    killAll();
    return fail(`The server did not start. ${error instanceof Error ? error.message : String(error)}`);
  }
  endInOrder(server, log);
  announce(config, server, isDemo);
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
    mode: "autonomous",
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
function announce(config: Config, server: Server, isDemo: boolean): void {
  const { host } = config.listen;
  const origin = config.publicUrl ?? `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`;
  const hasCredential = config.auth.tokens.length > 0 || config.auth.trustedProxies.length > 0;
  const lines = isDemo
    ? ["Breakglass runs with a demo machine, since nothing is configured (docs/configuration.md)."]
    : [`Breakglass listens on ${host}:${server.port}.`];
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

function endInOrder(server: Server, log: Log): void {
  let ending = false;
  const end = (signal: NodeJS.Signals) => {
    if (ending) return;
    ending = true;
    log.info(`${signal}: ending in order`);
    setTimeout(() => {
      log.warn("the end took too long; what was not settled will be at the next start");
      killAll();
      // Not exit(): it waits for threads, and one that hangs in a disk never ends.
      process.kill(process.pid, "SIGKILL");
    }, closeMs);
    server.close().then(leave, (error: unknown) => {
      log.error(error, "the end was not in order; what was not settled will be at the next start");
      leave();
    });
  };
  process.on("SIGTERM", end).on("SIGINT", end);
}

function leave(): never {
  killAll();
  process.exit(0);
}

function sentence({ option, value, mend }: Problem): string {
  return `${option} (${value}): ${mend}`;
}

function fail(text: string): void {
  process.stderr.write(`${text}\n`);
  process.exitCode = 1;
}
