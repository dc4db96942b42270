import path from "node:path";
import { shown, warn, type Findings } from "./findings.ts";

/** Every variable that is read. docs/configuration.md has one row for each, held together by a test. */
export const optionNames = [
  "BREAKGLASS_CONFIG",
  "BREAKGLASS_LISTEN",
  "BREAKGLASS_PUBLIC_URL",
  "BREAKGLASS_DATA_DIR",
  "BREAKGLASS_SESSIONS_DIR",
  "BREAKGLASS_DEVVM_HOST",
  "BREAKGLASS_DEVVM_USER",
  "BREAKGLASS_OBSERVE_USER",
  "BREAKGLASS_PVE_HOST",
  "BREAKGLASS_PVE_USER",
  "BREAKGLASS_KEY_PATH",
  "BREAKGLASS_AGENT",
  "BREAKGLASS_MODEL",
  "BREAKGLASS_CLAUDE",
  "BREAKGLASS_MODE",
  "BREAKGLASS_ISOLATION",
  "BREAKGLASS_MAX_CONCURRENT_TURNS",
  "BREAKGLASS_TURN_TIMEOUT_SECONDS",
  "BREAKGLASS_TURN_COST_MAX_USD",
  "BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS",
  "BREAKGLASS_SSE_KEEPALIVE_SECONDS",
  "API_BEARER_TOKEN",
  "BREAKGLASS_TRUSTED_PROXIES",
  "BREAKGLASS_PROXY_SECRET",
  "ANTHROPIC_API_KEY",
  "CLAUDE_CODE_OAUTH_TOKEN",
  "ANTHROPIC_BASE_URL",
  "XDG_STATE_HOME",
  "HOME",
] as const;

export type OptionName = (typeof optionNames)[number];
export type Environment = Readonly<Record<string, string | undefined>>;
/** The value without the space around it; empty counts as not set, as deployment files write it. */
export type Read = (name: OptionName) => string | undefined;

export function reader(env: Environment): Read {
  return (name) => {
    const value = env[name]?.trim();
    return value === "" ? undefined : value;
  };
}

/** Absolute. No shell unfolds `~` in a deployment file, and a folder of that name is never meant. */
export function absolutePath(read: Read, text: string): string {
  const home = read("HOME");
  return path.resolve(home !== undefined && /^~(?:\/|$)/.test(text) ? path.join(home, text.slice(1)) : text);
}

/** Kubernetes describes every Service of the namespace to every pod in variables of these shapes. */
const injectedByKubernetes =
  /^BREAKGLASS_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;

export function warnOfUnknownVariables(env: Environment, findings: Findings): void {
  const known: ReadonlySet<string> = new Set(optionNames);
  for (const name of Object.keys(env).toSorted()) {
    if (!name.startsWith("BREAKGLASS_") || known.has(name)) continue;
    const value = env[name] ?? "";
    // A person who writes BREAKGLASS_PORT means a number; Kubernetes writes a URL there.
    const injected =
      injectedByKubernetes.test(name) || (name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(value));
    if (injected) continue;
    // What an unknown variable holds may be a secret under a mistyped name.
    const secret = /SECRET|TOKEN|PASS|CREDENTIAL|_KEY$/.test(name);
    warn(
      findings,
      shownName(name),
      secret ? "set (not shown)" : shown(value),
      "No such option: it does nothing. Check the spelling against docs/configuration.md, or remove it.",
    );
  }
}

function shownName(name: string): string {
  return name.slice(0, 100).replace(/[^A-Za-z0-9_]/g, "?");
}
