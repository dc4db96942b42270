import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { onTestFinished } from "vitest";
import { openAccess } from "../../src/cli/enroll/access.ts";
import type { Account, Fact } from "../../src/cli/enroll/facts.ts";
import { verify, type Side } from "../../src/cli/enroll/verify.ts";
import type { SshHost } from "../../src/server/ssh/config.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { breakglassHost, makeHost, type Host } from "../host/host.ts";

/** One sshd and one key; what the key may do there is the test's business. */
export interface Stage {
  readonly dir: string;
  readonly key: ReturnType<typeof makeKey>;
  readonly sshd: Sshd;
  readonly account: (role: Account["role"]) => Account;
  /** What is seen of these accounts, the host key being pinned. */
  readonly facts: (sides: readonly Side[]) => Promise<readonly Fact[]>;
  /** `breakglass enroll`, with this as its environment besides the key and the data directory. */
  readonly enroll: (
    env: Readonly<Record<string, string>>,
    args: readonly string[],
    input?: string,
  ) => Promise<{ readonly status: number | null; readonly said: string }>;
}

export async function makeStage(options: {
  /** From the public key to the lines of authorized_keys. */
  readonly line: (publicKey: string) => string;
  readonly config?: readonly string[];
}): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), "bg-enroll-"));
  const key = makeKey(dir, "key");
  const sshd = await startSshd({
    dir,
    authorizedKeys: [options.line(key.publicKey)],
    config: options.config ?? [],
  });
  onTestFinished(async () => {
    await sshd.stop();
    rmSync(dir, { recursive: true });
  });
  const dataDir = join(dir, "data");
  mkdirSync(dataDir);
  const account = (role: Account["role"]): Account => ({
    role,
    alias: role,
    user: sshd.user,
    host: "127.0.0.1",
    port: sshd.port,
  });
  return {
    dir,
    key,
    sshd,
    account,
    async facts(sides) {
      writeFileSync(join(dataDir, "known_hosts"), `[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`);
      const hosts = sides.map(({ account: { alias, host, port, user, role } }): SshHost => ({
        alias,
        hostName: host,
        port,
        user,
        side: role === "hypervisor" ? "hypervisor" : "guest",
      }));
      const access = await openAccess({ hosts, keyPath: key.path, dataDir, path: process.env["PATH"]! });
      try {
        const facts: Fact[] = [];
        for await (const fact of verify(access, sides)) facts.push(fact);
        return facts;
      } finally {
        await access.close();
      }
    },
    async enroll(env, args, input = "") {
      const child = spawn(process.execPath, [resolve("src/cli/main.mjs"), "enroll", ...args], {
        env: {
          PATH: process.env["PATH"],
          BREAKGLASS_DATA_DIR: dataDir,
          BREAKGLASS_KEY_PATH: key.path,
          ...env,
        },
      });
      let said = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
      child.stdin.on("error", () => {}).end(input);
      const [status] = (await once(child, "close")) as [number | null];
      return { status, said };
    },
  };
}

/** A hypervisor with the real forced command over the qm stand-in. */
export async function makeHypervisor(): Promise<{ host: Host; forced: (publicKey: string) => string }> {
  const host = await makeHost();
  onTestFinished(() => host.end());
  const forced = (publicKey: string) =>
    `restrict,command="${breakglassHost} --config ${host.config} 102" ${publicKey}`;
  return { host, forced };
}

/**
 * The forced command of a guest's account in the tests: a shell whose `id` and `sudo` answer as the case says. Real
 * accounts need root (test/enroll/accounts.test.ts).
 */
export function scriptedGuest(says: {
  readonly uid: number;
  readonly groups: string;
  /** Exit codes of `sudo -n -l` and `sudo -n true`. */
  readonly sudoList: number;
  readonly sudoTrue: number;
}): string {
  const dir = mkdtempSync(join(tmpdir(), "bg-guest-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const program = (name: string, text: string) => {
    writeFileSync(join(dir, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(dir, name), 0o755);
  };
  program("id", `[ "$1" = -u ] && echo ${says.uid} || echo ${says.groups}`);
  program("sudo", `[ "$2" = -l ] && exit ${says.sudoList}; exit ${says.sudoTrue}`);
  program("shell", `PATH=${dir}:/usr/bin:/bin; export PATH; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`);
  return join(dir, "shell");
}
