import { lstatSync, readlinkSync } from "node:fs";
import type { Folders } from "./folders.ts";
import type { Errand } from "./runner.ts";

/** The agent's own /tmp, in memory; beyond it programs in the cage get "no space left". */
const temporaryBytesMax = 256 * 1024 * 1024;

const opt = "/opt/breakglass";

/** Paths as the agent sees them. */
export const inside = {
  workspace: "/home/agent",
  memory: "/home/agent-memory",
  temporary: "/tmp",
  executable: `${opt}/claude`,
  brokerSocket: `${opt}/broker.sock`,
  bin: `${opt}/bin`,
  path: `${opt}/bin:${opt}/node:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
} as const;

/** nobody: a server that runs as root is seen as an ordinary user in the cage. Others keep the number they have. */
const nobody = 65534;
const account = process.getuid?.() === 0 ? ["--uid", `${nobody}`, "--gid", `${nobody}`] : [];

/** In all of them: nothing of ours outlives us, no terminal to type into, no capability, and no other process to be seen. */
const common = [
  ["--die-with-parent", "--new-session", "--cap-drop", "ALL"],
  ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "breakglass"],
].flat();

/** The strictest first. What the second and third lack: no further user namespaces inside; a user namespace at all. */
export const fences: readonly (readonly string[])[] = [
  ["--unshare-user", "--disable-userns", ...account, ...common],
  ["--unshare-user", ...account, ...common],
  common,
];

/** Of /etc only what programs need to run, to resolve names and to check certificates: /etc/ssl/private stays out. */
const etc = [
  [
    "resolv.conf",
    "hosts",
    "nsswitch.conf",
    "host.conf",
    "gai.conf",
    "passwd",
    "group",
    "localtime",
    "timezone",
  ],
  ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "bash.bashrc", "profile"],
  [
    "ssl/certs",
    "ssl/openssl.cnf",
    "ca-certificates",
    "ca-certificates.conf",
    "pki/tls/certs",
    "pki/ca-trust",
  ],
]
  .flat()
  .map((name) => `/etc/${name}`);

/** What of this machine is seen, read-only: its programs, no home, no /run, no /sys, no /var, nothing of ours. */
export function machine(readable: readonly string[]): string[] {
  return [
    ["--ro-bind", "/usr", "/usr"],
    ...["bin", "sbin", "lib", "lib32", "lib64"].map(topFolder),
    ...[...etc, ...readable].map((path) => ["--ro-bind-try", path, path]),
    // Read-only as a whole: under a root server the kernel still sees root here, and /proc/sys/kernel/core_pattern is
    // writable for root even without capabilities. bubblewrap does not cover /proc/sys by itself (0.8, seen).
    ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"],
    ["--size", `${temporaryBytesMax}`, "--tmpfs", inside.temporary],
  ].flat();
}

/** What one Session has of its own. */
export function insideOf({ executable, door }: Errand, folders: Folders): string[] {
  return [
    ["--bind", folders.workspace, inside.workspace, "--bind", folders.memory, inside.memory],
    ["--ro-bind", executable, inside.executable, "--ro-bind", door.binDir, inside.bin],
    // For the Broker's `ssh`, which is a script of Node's.
    ["--ro-bind", process.execPath, `${opt}/node/node`],
    // A socket answers on a read-only mount too.
    ["--ro-bind", door.socketPath, inside.brokerSocket, "--chdir", inside.workspace],
  ].flat();
}

/** /bin is a symlink into /usr on most systems, and a folder on some. */
function topFolder(name: string): string[] {
  const found = lstatSync(`/${name}`, { throwIfNoEntry: false });
  if (found === undefined) return [];
  return found.isSymbolicLink()
    ? ["--symlink", readlinkSync(`/${name}`), `/${name}`]
    : ["--ro-bind", `/${name}`, `/${name}`];
}
