import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { onTestFinished } from "vitest";
import { makeKey } from "../doubles/sshd.ts";

/**
 * This machine's whole file system once more, under an overlay in memory: an sshd in it may make accounts, install and remove, and
 * the machine itself never knows. It is hypervisor and guest at once. Needs root.
 *
 * sudo and visudo are stand-ins, since not every machine that runs the tests has them; useradd, usermod, sshd and all the rest are real.
 */
export async function startMachine() {
  const dir = mkdtempSync(join(tmpdir(), "bg-machine-"));
  const file = (name: string) => join(dir, name);
  const port = await freePort();
  const operator = makeKey(dir, "operator");
  mkdirSync(file("new"), { recursive: true });
  const put = (path: string, text: string, mode = 0o644) => {
    const whole = join(file("new"), path);
    mkdirSync(join(whole, ".."), { recursive: true });
    writeFileSync(whole, text);
    chmodSync(whole, mode);
  };
  put("etc/ssh/sshd_config", sshdConfig(port));
  put("etc/sudoers.d/README", "");
  put("usr/sbin/qm", '#!/bin/sh\necho "status: stopped"\n', 0o755);
  put(
    "usr/local/bin/sudo",
    '#!/bin/sh\n[ "$(id -u)" = 0 ] || [ -e "/etc/sudoers.d/breakglass-$(id -un)" ]\n',
    0o755,
  );
  put("usr/local/bin/visudo", '#!/bin/sh\nfor f; do :; done\ngrep -q "NOPASSWD: ALL" "$f"\n', 0o755);
  // As on Proxmox.
  put("etc/pve/priv/authorized_keys", `${operator.publicKey}\n`, 0o600);

  const child = spawn("unshare", ["--mount", "bash", "-euc", world, "world", dir], {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  const ended = once(child, "exit");
  onTestFinished(async () => {
    process.kill(-child.pid!, "SIGKILL");
    await ended;
    rmSync(dir, { recursive: true });
  });
  await new Promise<void>((ready, fail) => {
    let said = "";
    child.once("exit", () => fail(new Error(`the machine ended: ${said}`)));
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("Server listening on")) ready();
    });
  });

  // The Operator's own ssh has a configuration of its own; the console's says which one it wants.
  mkdirSync(file("bin"));
  writeFileSync(
    file("operator_config"),
    `Host *\nIdentityFile ${operator.path}\nIdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n`,
  );
  writeFileSync(
    file("bin/ssh"),
    `#!/bin/sh\n[ "$1" = -T ] && exec /usr/bin/ssh -F ${file("operator_config")} "$@"\nexec /usr/bin/ssh "$@"\n`,
    { mode: 0o755 },
  );
  const login = `ssh://root@127.0.0.1:${port}`;
  return {
    login,
    /** What somebody does there as root. */
    asRoot(command: string): string {
      const { stdout, stderr } = spawnSync("ssh", ["-F", file("operator_config"), login, command], {
        encoding: "utf8",
      });
      return stdout + stderr;
    },
    dataDir: file("data"),
    keyPath: file("keys/console"),
    /** `breakglass enroll devvm …`, and what the Operator types. */
    async enroll(args: readonly string[], typed = "") {
      const enrolling = spawn(process.execPath, [resolve("src/cli/main.mjs"), "enroll", "devvm", ...args], {
        env: {
          PATH: `${file("bin")}:${process.env["PATH"]}`,
          BREAKGLASS_DATA_DIR: file("data"),
          BREAKGLASS_KEY_PATH: file("keys/console"),
          BREAKGLASS_DEVVM_HOST: `127.0.0.1:${port}`,
          BREAKGLASS_DEVVM_USER: "bg-admin",
          BREAKGLASS_OBSERVE_USER: "bg-observe",
          BREAKGLASS_PVE_HOST: `127.0.0.1:${port}`,
        },
      });
      let said = "";
      enrolling.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
      enrolling.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
      enrolling.stdin.on("error", () => {}).end(typed);
      const [status] = (await once(enrolling, "close")) as [number | null];
      return { status, said };
    },
    publicKey: operator.publicKey,
  };
}

/** In a mount namespace of its own: tmpfs, overlay, then sshd inside, as the same process. */
const world = `
cp -a "$1/new" /dev/shm/new.$$
mount -t tmpfs tmpfs "$1/new"
cd "$1/new"
mkdir up work whole
mount -t overlay overlay -o lowerdir=/,upperdir="$PWD/up",workdir="$PWD/work" "$PWD/whole"
cp -a /dev/shm/new.$$/. whole/
rm -r /dev/shm/new.$$
mount --rbind /proc whole/proc
mount --rbind /dev whole/dev
mount -t tmpfs tmpfs whole/run
mkdir whole/run/sshd
home=whole/root
rm -rf $home/.ssh whole/etc/ssh/ssh_host_*
install -d -m 0700 $home/.ssh
ln -s /etc/pve/priv/authorized_keys $home/.ssh/authorized_keys
: >$home/.bashrc
ssh-keygen -q -t ed25519 -N '' -f whole/etc/ssh/ssh_host_ed25519_key
exec chroot whole /usr/sbin/sshd -D -e
`;

function sshdConfig(port: number): string {
  return [
    `Port ${port}`,
    // As in ../doubles/sshd.ts.
    "KexAlgorithms curve25519-sha256",
    "ListenAddress 127.0.0.1",
    "HostKey /etc/ssh/ssh_host_ed25519_key",
    "PidFile none",
    "UsePAM no",
    "UseDNS no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "ClientAliveInterval 15",
    "MaxStartups 100",
    "Subsystem sftp internal-sftp",
    "",
  ].join("\n");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
