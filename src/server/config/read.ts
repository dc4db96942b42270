import path from "node:path";
import { readAgent } from "./agent.ts";
import type { Config, Endpoint, Problem } from "./config.ts";
import { readCredentials, refuseOpenDoor } from "./credentials.ts";
import type { ConfigFile } from "./file.ts";
import { complain, notSet, shown, stop, warn, type Findings } from "./findings.ts";
import { readNumber } from "./numbers.ts";
import { absolutePath, reader, warnOfUnknownVariables, type Environment, type Read } from "./options.ts";
import { isLoopback } from "./ranges.ts";
import { readTargets } from "./targets.ts";
import { parseEndpoint, parseOrigin } from "./values.ts";

export interface ReadConfig {
  /** null when a problem stops the server. */
  readonly config: Config | null;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

const defaultListen: Endpoint = { host: "127.0.0.1", port: 8080 };
/** Then the answer says "unknown" and the Job goes on: a Cycle may take 20 s + 150 s + three starts of minutes. */
const verbSeconds = { default: 600, min: 0.1, max: 3600, whole: false };
/** A quiet stream gets a comment so often: proxies close what is silent for 30 to 60 s. */
const keepaliveSeconds = { default: 15, min: 0.1, max: 300, whole: false };

/**
 * The environment and, where BREAKGLASS_CONFIG names one, the YAML file. Tells all problems at once and never rejects for
 * them. `readFile` gives a file's text or throws; `ownAddresses` are this machine's (os.networkInterfaces), so that a
 * range of trusted proxies that contains one is seen.
 */
export async function readConfig(
  env: Environment,
  readFile: (path: string) => string,
  ownAddresses: readonly string[] = [],
): Promise<ReadConfig> {
  const findings: Findings = { problems: [], warnings: [] };
  const read = reader(env);
  const file = await readNamedFile(read, readFile, findings);
  const listen = readListen(read, findings);
  refuseOpenDoor(read, file, listen.host, findings);
  const targets = readTargets(read, file, findings);
  const dataDir = absolutePath(read, read("BREAKGLASS_DATA_DIR") ?? defaultDataDir(read));
  const config: Config = {
    listen,
    publicUrl: readPublicUrl(read, listen, findings),
    dataDir,
    sessionsDir: absolutePath(read, read("BREAKGLASS_SESSIONS_DIR") ?? path.join(dataDir, "sessions")),
    targets,
    keyPath: readKeyPath(read, targets.length > 0, findings),
    ...readAgent(read, findings),
    verbTimeoutSeconds: readNumber(
      read,
      "BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS",
      verbSeconds,
      `${verbSeconds.default} holds until then.`,
      findings,
    ),
    sseKeepaliveSeconds: readNumber(
      read,
      "BREAKGLASS_SSE_KEEPALIVE_SECONDS",
      keepaliveSeconds,
      `${keepaliveSeconds.default} holds until then.`,
      findings,
    ),
    auth: readCredentials(read, file, ownAddresses, findings),
    presets:
      file.presets?.map(({ name, prompt, about, runbook }) => ({
        name,
        prompt,
        about: about ?? "",
        ...(runbook !== undefined && { runbook }),
      })) ?? null,
    runbooks: file.runbooks ?? [],
    nothingConfigured: targets.length === 0 && read("BREAKGLASS_CONFIG") === undefined,
  };
  warnOfUnknownVariables(env, findings);
  return { config: findings.problems.some(({ stops }) => stops) ? null : config, ...findings };
}

async function readNamedFile(
  read: Read,
  readFile: (path: string) => string,
  findings: Findings,
): Promise<ConfigFile> {
  const option = read("BREAKGLASS_CONFIG");
  if (option === undefined) return {};
  const named = absolutePath(read, option);
  let text: string;
  try {
    text = readFile(named);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    stop(
      findings,
      "BREAKGLASS_CONFIG",
      shown(named),
      `The file cannot be read: ${shown(reason).slice(1, -1)}. Mend the path or its rights, or unset it.`,
    );
    return {};
  }
  const { readConfigFile } = await import("./file.ts");
  return readConfigFile(named, text, findings);
}

function readListen(read: Read, findings: Findings): Endpoint {
  const option = "BREAKGLASS_LISTEN";
  const text = read(option);
  if (text === undefined) return defaultListen;
  const endpoint = parseEndpoint(text, defaultListen.port);
  if (endpoint !== undefined) return endpoint;
  // Neither ":8080" nor "8080" says whether all the world is meant.
  stop(
    findings,
    option,
    shown(text),
    "It must be host:port, for example 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 for all interfaces.",
  );
  return defaultListen;
}

function readPublicUrl(read: Read, listen: Endpoint, findings: Findings): string | null {
  const option = "BREAKGLASS_PUBLIC_URL";
  const text = read(option);
  if (text === undefined) {
    if (!isLoopback(listen.host))
      warn(
        findings,
        option,
        notSet,
        "Browsers that reach the page under a name can look, but not act. Set it to the URL in their address bar.",
      );
    return null;
  }
  const origin = parseOrigin(text);
  if (origin === undefined) {
    stop(
      findings,
      option,
      shown(text),
      "It must be an origin without a path, for example https://rescue.example.org.",
    );
    return null;
  }
  if (origin.startsWith("http:") && !isLoopback(new URL(origin).hostname.replace(/^\[|\]$/g, "")))
    warn(
      findings,
      option,
      shown(text),
      "Without https everybody on the way can read the credentials. Put TLS in front of it.",
    );
  return origin;
}

/** XDG Base Directory Specification; an account without a home (a container's) keeps it where services do. */
function defaultDataDir(read: Read): string {
  const state = read("XDG_STATE_HOME");
  // "All paths set in these environment variables must be absolute"; others are to be ignored.
  if (state !== undefined && path.isAbsolute(state)) return path.join(state, "breakglass");
  const home = read("HOME");
  return home !== undefined && path.isAbsolute(home)
    ? path.join(home, ".local/state/breakglass")
    : "/var/lib/breakglass";
}

function readKeyPath(read: Read, needed: boolean, findings: Findings): string | null {
  const option = "BREAKGLASS_KEY_PATH";
  const text = read(option);
  if (text !== undefined) return absolutePath(read, text);
  if (needed)
    complain(
      findings,
      option,
      notSet,
      "No machine can be reached without an SSH key; the page works. Set it to the path of the private key.",
    );
  return null;
}
