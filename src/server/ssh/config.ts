import { hostKeyIn } from "./host-key.ts";
import { knownName } from "./known-lines.ts";

/** One account on one machine, by the name that commands use. */
export interface SshHost {
  /** Lower-case letters, digits, dashes. */
  readonly alias: string;
  /** An address: the power path must not need DNS. */
  readonly hostName: string;
  readonly port: number;
  readonly user: string;
  readonly side: "guest" | "hypervisor";
  /**
   * A `known_hosts` line or just its key (`ssh-ed25519 AAAA…`; `@cert-authority` may precede): nothing else is ever
   * accepted. Without it known_hosts decides: a guest's first key is taken into it by itself, a hypervisor's never.
   */
  readonly pinnedHostKey?: string;
}

export interface ConfigPaths {
  readonly publicKey: string;
  readonly agentSocket: string;
  readonly knownHosts: string;
  readonly pinned: (alias: string) => string;
}

/** For connecting, banner and key exchange included; then the attempt fails. A sick guest may be slow to fork. */
export const connectTimeoutSeconds = 10;

/** Our own ssh_config (ssh_config(5)): with -F nothing of the user's or the system's is read. */
export function configText(hosts: readonly SshHost[], paths: ConfigPaths): string {
  const strict = new Set(hosts.filter(({ side }) => side === "hypervisor").map(nameOf));
  // By name, not by side: a guest's account at a hypervisor's address must not let its key in either.
  const blocks = hosts.map((host) => hostBlock(host, strict.has(nameOf(host)), paths));
  return [...blocks, commonBlock(paths)].join("\n");
}

/** The name of its machine in known_hosts: accounts on one machine share it. */
export function nameOf({ hostName, port }: SshHost): string {
  return knownName({ host: hostName, port });
}

/** The line by which OpenSSH finds a pinned key: under the alias, since a host may be reached by several names. */
export function pinnedLine(alias: string, given: string): string {
  const key = hostKeyIn(given);
  if (key === null) {
    throw new Error(
      `The pinned host key of "${alias}" has no "ssh-ed25519 AAAA…" in it. Take a line of ssh-keyscan.`,
    );
  }
  const marker = /^@\S+ /.exec(given.trim())?.[0] ?? "";
  return `${marker}${alias} ${key.type} ${key.blob}\n`;
}

function hostBlock(host: SshHost, strict: boolean, paths: ConfigPaths): string {
  // A sick guest may be slow to answer a keepalive; the hypervisor is healthy, or else something is wrong with the line.
  const keepaliveSeconds = host.side === "guest" ? 10 : 5;
  return options(`Host ${word(host.alias)}`, [
    ["HostName", word(host.hostName)],
    ["Port", String(host.port)],
    ["User", word(host.user)],
    ["ServerAliveInterval", String(keepaliveSeconds)],
    ["ServerAliveCountMax", "3"],
    ["StrictHostKeyChecking", strict || host.pinnedHostKey !== undefined ? "yes" : "accept-new"],
    ...(host.pinnedHostKey === undefined
      ? []
      : ([
          ["HostKeyAlias", word(host.alias)],
          ["UserKnownHostsFile", paths.pinned(host.alias)],
        ] as const)),
  ]);
}

/** The first value of an option wins: what a host's own block says stands. */
function commonBlock(paths: ConfigPaths): string {
  return options("Host *", [
    ["IdentityFile", paths.publicKey],
    ["IdentitiesOnly", "yes"],
    ["IdentityAgent", paths.agentSocket],
    ["UserKnownHostsFile", paths.knownHosts],
    ["GlobalKnownHostsFile", "none"],
    ["StrictHostKeyChecking", "yes"],
    ["HashKnownHosts", "no"],
    ["UpdateHostKeys", "no"],
    ["CheckHostIP", "no"],
    ["VerifyHostKeyDNS", "no"],
    ["CanonicalizeHostname", "no"],
    ["BatchMode", "yes"],
    ["PreferredAuthentications", "publickey"],
    ["AddKeysToAgent", "no"],
    ["ForwardAgent", "no"],
    ["ForwardX11", "no"],
    ["ClearAllForwardings", "yes"],
    ["Tunnel", "no"],
    ["PermitLocalCommand", "no"],
    ["RequestTTY", "no"],
    ["EscapeChar", "none"],
    ["Compression", "no"],
    ["ConnectTimeout", String(connectTimeoutSeconds)],
    ["ConnectionAttempts", "1"],
    // A session never becomes a master: those are started by connection.ts, with their path and persistence.
    ["ControlMaster", "no"],
    ["LogLevel", "ERROR"],
  ]);
}

function options(head: string, pairs: readonly (readonly [string, string])[]): string {
  return [head, ...pairs.map(([name, value]) => `  ${name} ${value}`), ""].join("\n");
}

/** Values come from the configuration, which has checked them; a space or a quote would change what the line means. */
function word(value: string): string {
  if (!/^[\w.:%@+-]+$/.test(value)) throw new Error(`"${value}" cannot stand in an ssh configuration.`);
  return value.replaceAll("%", "%%");
}
