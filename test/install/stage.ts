import { spawnSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { onTestFinished } from "vitest";
import { makeKey } from "../doubles/sshd.ts";

/** A hypervisor's file system in a folder: an account root, a qm that knows VM 102, the system's sshd with a configuration of its own. */
export function makeRoot() {
  const dir = mkdtempSync(join(tmpdir(), "bg-install-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const root = join(dir, "root of a host");
  const at = (...parts: string[]) => join(root, ...parts);
  for (const folder of ["etc/ssh", "root", "usr/sbin"]) mkdirSync(at(folder), { recursive: true });
  const put = (path: string, text: string | Buffer, mode = 0o644) => {
    mkdirSync(join(at(path), ".."), { recursive: true });
    writeFileSync(at(path), text, { mode });
    chmodSync(at(path), mode);
  };
  // Whoever runs the tests stands for root: only its number is looked at.
  put("etc/passwd", "daemon:x:1:1::/:/usr/sbin/nologin\nroot:x:0:0:root:/root:/bin/bash\n");
  put(
    "usr/sbin/qm",
    '#!/bin/sh\n[ "$2" = 102 ] && echo "status: running" && exit\necho "no such VM" >&2; exit 2\n',
    0o755,
  );
  const hostKey = makeKey(at("etc/ssh"), "ssh_host_ed25519_key");
  put("usr/sbin/sshd", `#!/bin/sh\nexec /usr/sbin/sshd -f '${at("etc/ssh/sshd_config")}' "$@"\n`, 0o755);
  const configureSshd = (...lines: readonly string[]) =>
    put(
      "etc/ssh/sshd_config",
      [`HostKey "${hostKey.path}"`, "ClientAliveInterval 15", ...lines, ""].join("\n"),
    );
  configureSshd();
  const key = makeKey(dir, "console");
  const [type, blob] = key.publicKey.split(" ");

  return {
    dir,
    at,
    put,
    key,
    /** What sshd compares: the key without its comment. */
    bareKey: `${type} ${blob}`,
    configureSshd,
    run(args: readonly string[], input = "") {
      const { status, stdout, stderr } = spawnSync(resolve("host/install"), ["--root", root, ...args], {
        input,
        encoding: "utf8",
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      });
      return { status, said: `${stdout}${stderr}` };
    },
    /** The usual options, without asking. */
    install(...more: readonly string[]) {
      return this.run(["--key", `${key.path}.pub`, "--vm", "102", "--from", "192.0.2.7", "--yes", ...more]);
    },
    /** Everything below the root: what it is, its mode, its contents. */
    tree: () => treeOf(root),
  };
}

function treeOf(folder: string, path = ""): readonly string[] {
  return readdirSync(join(folder, path), { withFileTypes: true }).flatMap((entry) => {
    const name = join(path, entry.name);
    const whole = join(folder, name);
    const mode = (lstatSync(whole).mode & 0o7777).toString(8);
    if (entry.isSymbolicLink()) return [`${name} -> ${readlinkSync(whole)}`];
    if (entry.isFile()) return [`${name} ${mode} ${readFileSync(whole, "latin1")}`];
    return [`${name}/ ${mode}`, ...treeOf(folder, name)];
  });
}
