import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SshHost } from "../../src/server/ssh/config.ts";
import { fingerprintOf, hostKeyIn, scanHostKeys } from "../../src/server/ssh/host-key.ts";
import { pinHostKey } from "../../src/server/ssh/known-hosts.ts";
import { keysOf, withKey } from "../../src/server/ssh/known-lines.ts";
import { openSsh, type NotSent, type Ssh } from "../../src/server/ssh/ssh.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";

const limits = { outputBytesMax: 10_000, deadlineMs: 60_000 };
const path = "/usr/bin:/bin";
let dir: string;
let known: string;
let sshd: Sshd;
let key: ReturnType<typeof makeKey>;
let opened: Ssh[];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bg-keys-"));
  known = join(dir, "data", "known_hosts");
  key = makeKey(dir, "key");
  sshd = await startSshd({ authorizedKeys: [key.publicKey], dir });
  opened = [];
});
afterEach(async () => {
  await Promise.all(opened.map((ssh) => ssh.close()));
  await sshd.stop();
  rmSync(dir, { recursive: true });
});

async function open(side: SshHost["side"] = "hypervisor", more: readonly SshHost[] = []): Promise<Ssh> {
  const host: SshHost = { alias: "devvm", hostName: "127.0.0.1", port: sshd.port, user: sshd.user, side };
  const knownHostsDir = join(dir, "data");
  const ssh = await openSsh({ hosts: [host, ...more], keyPath: key.path, knownHostsDir, path });
  opened.push(ssh);
  return ssh;
}

/** The same machine as ssh sees it, with a new host key: rebuilt, or somebody in between. */
async function rebuild(config: readonly string[] = []): Promise<void> {
  const { port } = sshd;
  await sshd.stop();
  for (const name of ["host_key", "host_key.pub"]) rmSync(join(dir, name));
  sshd = await startSshd({ authorizedKeys: [key.publicKey], dir, port, config });
}

/** Each command leaves a trace on the far side. */
const trace = () => join(dir, "trace");
const say = async (ssh: Ssh, alias = "devvm") => ssh.run(alias, [`echo sent >> ${trace()}; echo in`], limits);
const refusalOf = async (ssh: Ssh) => {
  const { exit } = await say(ssh);
  expect(exit.kind).toBe("not_sent");
  return exit as NotSent;
};
/** Ends the warm connection from the far side: it would outlive the listener. */
const cut = async (ssh: Ssh) => ssh.run("devvm", ["kill -9 $PPID"], limits);
/** What the machine's console says. */
const consoleSays = () =>
  execFileSync("ssh-keygen", ["-lf", join(dir, "host_key.pub")], { encoding: "utf8" }).split(" ")[1]!;
const onDisk = () => readFileSync(known, "utf8");

describe("a hypervisor that was never seen", () => {
  test("is refused with its fingerprint; once accepted it works at once, and after a restart", async () => {
    const ssh = await open();
    const refused = await refusalOf(ssh);
    expect(refused).toMatchObject({
      cause: "host_key_unknown",
      hostKey: { known: null, shown: consoleSays() },
    });
    expect(refused.reason).toContain(consoleSays());
    expect(refused.reason).toContain("Nothing was sent");
    expect(existsSync(trace())).toBe(false);
    expect(ssh.hostKeys.refused("devvm")).toEqual({ known: null, shown: consoleSays() });

    const news: unknown[] = [];
    ssh.hostKeys.watch(() => news.push(ssh.hostKeys.refused("devvm")));
    expect(await ssh.hostKeys.accept("devvm", consoleSays())).toEqual({
      kind: "accepted",
      known: null,
      durable: true,
    });
    expect(news).toEqual([null]);
    expect((await say(ssh)).stdout).toBe("in\n");
    await ssh.close();
    expect((await say(await open())).stdout).toBe("in\n");
  });

  test("is not let in by a guest's account at the same address either", async () => {
    const guest: SshHost = {
      alias: "guest",
      hostName: "127.0.0.1",
      port: sshd.port,
      user: sshd.user,
      side: "guest",
    };
    const ssh = await open("hypervisor", [guest]);
    expect((await say(ssh, "guest")).exit).toMatchObject({ cause: "host_key_unknown" });
    await ssh.hostKeys.accept("guest", consoleSays());
    expect((await say(ssh, "guest")).stdout).toBe("in\n");
    expect((await say(ssh)).stdout).toBe("in\n");
  });

  test("that somebody pins while the server runs works without a restart", async () => {
    const ssh = await open();
    await refusalOf(ssh);
    const at = { host: "127.0.0.1", port: sshd.port };
    const [shown] = await scanHostKeys({ ...at, path });
    expect(fingerprintOf(shown!)).toBe(consoleSays());
    await pinHostKey({ dir: join(dir, "data"), ...at, key: shown! });
    expect((await say(ssh)).stdout).toBe("in\n");
    expect(ssh.hostKeys.refused("devvm")).toBe(null);
  });
});

describe.each(["guest", "hypervisor"] as const)("on the side of the %s", (side) => {
  beforeEach(() => {
    mkdirSync(join(dir, "data"));
    writeFileSync(known, `[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`);
  });

  test("a changed key is refused with both fingerprints, and one tap accepts it", async () => {
    const ssh = await open(side);
    expect((await say(ssh)).stdout).toBe("in\n");
    rmSync(trace());
    const before = consoleSays();
    await cut(ssh);
    await rebuild();
    const refused = await refusalOf(ssh);
    expect(refused).toMatchObject({
      cause: "host_key_changed",
      hostKey: { known: before, shown: consoleSays() },
    });
    for (const words of [before, consoleSays(), "Nothing was sent", "CHANGED"])
      expect(refused.reason).toContain(words);
    expect(existsSync(trace())).toBe(false);

    expect(await ssh.hostKeys.accept("devvm", consoleSays())).toMatchObject({
      kind: "accepted",
      known: before,
    });
    expect((await say(ssh)).stdout).toBe("in\n");
    expect(onDisk()).toBe(`[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`);
    expect(await ssh.hostKeys.accept("devvm", consoleSays())).toMatchObject({ kind: "accepted" });
    expect(await ssh.hostKeys.accept("devvm", before)).toEqual({ kind: "nothing" });
  });

  test("a key of another kind is a changed key", async () => {
    const ssh = await open(side);
    const before = consoleSays();
    execFileSync("ssh-keygen", ["-q", "-t", "ecdsa", "-N", "", "-f", join(dir, "other_kind")]);
    const { port } = sshd;
    await sshd.stop();
    const config = [`HostKeyAlgorithms ecdsa-sha2-nistp256`, `HostKey ${join(dir, "other_kind")}`];
    sshd = await startSshd({ authorizedKeys: [key.publicKey], dir, port, config });
    const { hostKey } = await refusalOf(ssh);
    expect(hostKey?.known).toBe(before);
    expect(await ssh.hostKeys.accept("devvm", hostKey!.shown)).toMatchObject({ kind: "accepted" });
    expect((await say(ssh)).stdout).toBe("in\n");
  });

  test("another key than the one that was confirmed is not accepted", async () => {
    const ssh = await open(side);
    const before = consoleSays();
    await rebuild();
    await refusalOf(ssh);
    const confirmed = consoleSays();
    await rebuild();
    expect(await ssh.hostKeys.accept("devvm", confirmed)).toEqual({
      kind: "another",
      known: before,
      shown: consoleSays(),
    });
    expect(ssh.hostKeys.refused("devvm")?.shown).toBe(consoleSays());
    await refusalOf(ssh);
    expect(onDisk()).not.toContain(sshd.hostPublicKey);
    await sshd.stop();
    expect(await ssh.hostKeys.accept("devvm", consoleSays())).toEqual({ kind: "silent" });
  });

  test("a rebuilt machine with a certificate of a known authority is let in silently", async () => {
    makeKey(dir, "authority");
    const authority = readFileSync(join(dir, "authority.pub"), "utf8").trim();
    writeFileSync(known, `@cert-authority 127.0.0.1,[127.0.0.1]:* ${authority}\n`);
    const words = "-q -s authority -I devvm -h -n 127.0.0.1 host_key.pub".split(" ");
    const certify = () => execFileSync("ssh-keygen", words, { cwd: dir });
    const certified = async () => {
      const { port } = sshd;
      await sshd.stop();
      certify();
      const config = [`HostCertificate ${join(dir, "host_key-cert.pub")}`];
      sshd = await startSshd({ authorizedKeys: [key.publicKey], dir, port, config });
    };
    await certified();
    const ssh = await open(side);
    expect((await say(ssh)).stdout).toBe("in\n");
    const before = consoleSays();
    await cut(ssh);
    await rebuild();
    await certified();
    expect(consoleSays()).not.toBe(before);
    expect((await say(ssh)).stdout).toBe("in\n");
    expect(onDisk()).toBe(`@cert-authority 127.0.0.1,[127.0.0.1]:* ${authority}\n`);
  });

  test("what a person writes into known_hosts is taken up at a refusal, and is never undone", async () => {
    const ssh = await open(side);
    await say(ssh);
    await cut(ssh);
    await rebuild();
    await refusalOf(ssh);
    const words = `# rebuilt on Friday\n[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n192.0.2.7 ${key.publicKey}\n`;
    writeFileSync(known, words);
    expect((await say(ssh)).stdout).toBe("in\n");
    expect(ssh.hostKeys.refused("devvm")).toBe(null);
    await ssh.close();
    expect(onDisk()).toBe(words);
  });

  test("a key that is marked as revoked is refused and cannot be accepted", async () => {
    appendFileSync(known, `@revoked * ${sshd.hostPublicKey}\n`);
    const ssh = await open(side);
    const refused = await refusalOf(ssh);
    expect(refused.reason).toContain("revoked");
    expect(refused.hostKey).toBe(undefined);
    expect(await ssh.hostKeys.accept("devvm", key.publicKey)).toEqual({ kind: "nothing" });
  });
});

test("a guest's first key is kept beside what people wrote meanwhile", async () => {
  const ssh = await open("guest");
  mkdirSync(join(dir, "data"));
  writeFileSync(known, "# mine");
  expect((await say(ssh)).stdout).toBe("in\n");
  await ssh.close();
  expect(onDisk()).toBe(`# mine\n[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`);
});

test("while the disk hangs a key is accepted all the same, and it is said that it does not outlive a restart", async () => {
  mkdirSync(join(dir, "data"));
  // Who reads it waits for somebody who writes: a disk that does not answer.
  execFileSync("mkfifo", [known]);
  const ssh = await open();
  const { hostKey } = await refusalOf(ssh);
  expect(await ssh.hostKeys.accept("devvm", hostKey!.shown)).toMatchObject({ durable: false });
  expect((await say(ssh)).stdout).toBe("in\n");
  // The disk answers again: what was accepted gets there.
  const writer = openSync(known, constants.O_RDWR);
  rmSync(known);
  closeSync(writer);
  await expect.poll(() => existsSync(known) && onDisk(), { timeout: 30_000 }).toContain(sshd.hostPublicKey);
});

test("a server that starts while the disk hangs knows what the one before it knew", async () => {
  const host: SshHost = {
    alias: "devvm",
    hostName: "127.0.0.1",
    port: sshd.port,
    user: sshd.user,
    side: "hypervisor",
  };
  const options = { hosts: [host], keyPath: key.path, knownHostsDir: join(dir, "data"), path };
  const start = async () => {
    const ssh = await openSsh({ ...options, knownHostsCopy: join(dir, "copy") });
    opened.push(ssh);
    return ssh;
  };
  const [shown] = await scanHostKeys({ host: "127.0.0.1", port: sshd.port, path });
  await pinHostKey({ dir: join(dir, "data"), host: "127.0.0.1", port: sshd.port, key: shown! });
  await (await start()).close();
  rmSync(known);
  execFileSync("mkfifo", [known]);
  expect((await say(await start())).stdout).toBe("in\n");
  const writer = openSync(known, constants.O_RDWR);
  rmSync(known);
  closeSync(writer);
});

test("a server that puts ssh's own words before its banner does not choose what the Operator is shown", async () => {
  const words = ["debug1: Server host key: ssh-ed25519 SHA256:AAAA", "Host key verification failed."];
  const liar = createServer((socket) => {
    socket.on("error", () => {}).end(`${words.join("\r\n")}\r\nx\r${words.join("\r")}\r\n`);
  });
  await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
  const { port } = liar.address() as AddressInfo;
  const host: SshHost = { alias: "liar", hostName: "127.0.0.1", port, user: sshd.user, side: "hypervisor" };
  const ssh = await open("guest", [host]);
  const { exit } = await say(ssh, "liar");
  expect(exit).toMatchObject({ cause: "unreachable" });
  expect(ssh.hostKeys.refused("liar")).toBe(null);
  await new Promise((resolve) => liar.close(resolve));
});

describe("the lines of known_hosts", () => {
  const [mine, other] = ["AAAAmine", "AAAAother"].map((blob) => ({ type: "ssh-ed25519", blob }));
  const name = "[10.0.0.1]:2222";

  test("a new key replaces all of the name's own, and nothing else", () => {
    const text = `# a comment\n@cert-authority * ssh-ed25519 AAAAca\n${name} ssh-rsa AAAAold\n10.0.0.9,${name} ssh-rsa AAAAold\n10.0.0.* ssh-rsa AAAApattern\n`;
    expect(withKey(text, name, mine!)).toBe(
      `# a comment\n@cert-authority * ssh-ed25519 AAAAca\n10.0.0.9 ssh-rsa AAAAold\n10.0.0.* ssh-rsa AAAApattern\n${name} ssh-ed25519 AAAAmine\n`,
    );
  });

  test("a name that ssh-keygen hashed is found and replaced", () => {
    const file = join(dir, "hashed");
    writeFileSync(file, `${name} ${key.publicKey}\n`);
    execFileSync("ssh-keygen", ["-q", "-H", "-f", file], { stdio: "ignore" });
    const text = readFileSync(file, "utf8");
    expect(text).toMatch(/^\|1\|/);
    expect(keysOf(text, name)).toEqual([hostKeyIn(key.publicKey)]);
    expect(keysOf(text, "10.0.0.1")).toEqual([]);
    expect(withKey(text, name, other!)).toBe(`${name} ssh-ed25519 AAAAother\n`);
  });
});
