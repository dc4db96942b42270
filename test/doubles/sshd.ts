import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";

export interface Sshd {
  /** On 127.0.0.1. */
  readonly port: number;
  /** The host key as in a `known_hosts` line, without the host: `ssh-ed25519 AAAA…`. */
  readonly hostPublicKey: string;
  /** The only account that it lets in: whoever runs the tests. */
  readonly user: string;
  /** The listener's pid. */
  readonly pid: number;
  /** Ends the listener and its connections; what commands started in sessions of their own is theirs to end. */
  stop(): Promise<void>;
}

export interface SshdOptions {
  /** Whole lines, so that `restrict,command="…" ssh-ed25519 …` can be given. */
  readonly authorizedKeys: readonly string[];
  /** An existing folder of the caller's own: host key (kept and used again), authorized_keys, configuration. */
  readonly dir: string;
  /** Further lines of sshd_config, for example "MaxSessions 1"; the first value of an option wins. */
  readonly config?: readonly string[];
  /** To come back on the same port with other files. */
  readonly port?: number;
}

/** A real OpenSSH server on loopback, as whoever runs the tests. Rejects with sshd's own words when it does not start. */
export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const attempts = options.port === undefined ? 5 : 1;
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    try {
      return await startOn(port, options);
    } catch (error) {
      // sshd cannot listen on port 0, so that somebody may take the free port in between.
      if (attempt >= attempts || !String(error).includes("Address already in use")) throw error;
    }
  }
}

/** A new key pair without a passphrase; answers the private file's path and the public line. */
export function makeKey(dir: string, name: string, passphrase = ""): { path: string; publicKey: string } {
  const path = join(dir, name);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path]);
  return { path, publicKey: readFileSync(`${path}.pub`, "utf8").trim() };
}

async function startOn(port: number, { authorizedKeys, dir, config = [] }: SshdOptions): Promise<Sshd> {
  const file = (name: string) => join(dir, name);
  if (!existsSync(file("host_key"))) makeKey(dir, "host_key");
  writeFileSync(file("authorized_keys"), authorizedKeys.map((line) => `${line}\n`).join(""), { mode: 0o600 });
  writeFileSync(
    file("sshd_config"),
    [
      ...config,
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${file("host_key")}`,
      `AuthorizedKeysFile ${file("authorized_keys")}`,
      "PidFile none",
      "UsePAM no",
      "StrictModes no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "PermitRootLogin prohibit-password",
      "MaxStartups 100",
      "UseDNS no",
      // Half a second of two cores for each connection is what the post-quantum exchange costs here, and no test is about it.
      "KexAlgorithms curve25519-sha256",
      "Ciphers aes128-gcm@openssh.com",
      // bash reads ~/.bashrc when sshd starts it: that of whoever runs the tests may print, fail or take half a second.
      `SetEnv HOME=${dir}`,
      "",
    ].join("\n"),
  );
  // Run as root, sshd wants this folder for its unprivileged half.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });

  const child = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", file("sshd_config")], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: "/usr/bin:/bin" },
    detached: true,
  });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`sshd ended: ${said}`)));
    child.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
      if (said.includes("Server listening on")) resolve();
    });
  });
  const pid = child.pid!;
  const [type, key] = readFileSync(file("host_key.pub"), "utf8").split(" ");
  return {
    port,
    hostPublicKey: `${type} ${key}`,
    user: userInfo().username,
    pid,
    async stop() {
      signalGroup(pid);
      await ended;
    },
  };
}

function signalGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
