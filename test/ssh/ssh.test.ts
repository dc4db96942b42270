import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openSsh, type Ssh, type SshOptions } from "../../src/server/ssh/ssh.ts";
import type { SshHost } from "../../src/server/ssh/config.ts";
import { makeKey, startSshd, type Sshd, type SshdOptions } from "../doubles/sshd.ts";

const limits = { outputBytesMax: 100_000, deadlineMs: 60_000 };
let dir: string;
let sshd: Sshd;
let key: ReturnType<typeof makeKey>;
let opened: Ssh[];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bg-ssh-"));
  key = makeKey(dir, "key");
  sshd = await startSshd({ authorizedKeys: [key.publicKey], dir });
  opened = [];
});

afterEach(async () => {
  await Promise.all(opened.map((ssh) => ssh.close()));
  await sshd.stop();
  rmSync(dir, { recursive: true });
});

const hosts = (more: Partial<SshHost> = {}): SshHost[] => [
  { alias: "devvm", hostName: "127.0.0.1", port: sshd.port, user: sshd.user, side: "guest", ...more },
];

async function open(options: Partial<SshOptions> = {}): Promise<Ssh> {
  const ssh = await openSsh({
    hosts: hosts(),
    keyPath: key.path,
    knownHostsDir: join(dir, "known"),
    ...options,
  });
  opened.push(ssh);
  return ssh;
}

async function restartSshd(options: Partial<SshdOptions> = {}): Promise<void> {
  const { port } = sshd;
  await sshd.stop();
  sshd = await startSshd({ authorizedKeys: [key.publicKey], dir, port, ...options });
}

/** The far side's sshd process of this connection: its parent is the listener. */
const connectionPid = async (ssh: Ssh) =>
  (await ssh.run("devvm", ["ps -o ppid= -p $$"], limits)).stdout.trim();

interface Row {
  readonly pid: number;
  readonly args: string;
}
function processes(): Row[] {
  const rows = execFileSync("ps", ["-eo", "pid=,args="], { encoding: "utf8" }).split("\n");
  return rows.map((row) => ({ pid: Number.parseInt(row, 10), args: row.trim().replace(/^\d+ /, "") }));
}

/** The runtime folders of this test's Ssh: their configuration names the port of its sshd. */
function runtimeFolders(): string[] {
  const named = processes().flatMap(({ args }) => /^ssh -F (\S+)\/config/.exec(args)?.[1] ?? []);
  const ours = (folder: string) => {
    const config = join(folder, "config");
    return existsSync(config) && readFileSync(config, "utf8").includes(`Port ${sshd.port}\n`);
  };
  return [...new Set(named)].filter(ours);
}
function masterPids(): number[] {
  const folders = runtimeFolders();
  const isMaster = ({ args }: Row) =>
    args.includes(" -M ") && folders.some((folder) => args.includes(`${folder}/`));
  return processes()
    .filter(isMaster)
    .map(({ pid }) => pid);
}
function agentPid(): number {
  const [folder] = runtimeFolders();
  return processes().find(({ args }) => args.startsWith(`ssh-agent -a ${folder}/agent`))!.pid;
}

test("a command's output, input and exit code come through", async () => {
  const ssh = await open();
  const shown: string[] = [];
  const answer = await ssh.run("devvm", ["cat; echo oops >&2; exit 3"], {
    ...limits,
    input: "äöü\n",
    onOutput: (channel, text) => shown.push(`${channel}: ${text}`),
  });
  expect(answer).toMatchObject({ exit: { kind: "exited", code: 3 }, stdout: "äöü\n", stderr: "oops\n" });
  expect(shown.toSorted()).toEqual(["stderr: oops\n", "stdout: äöü\n"]);
  expect(ssh.problem()).toBe(null);
  expect(ssh.publicKey()).toBe(key.publicKey);
});

test("a remote command's own 255 is an exit code like any other", async () => {
  const ssh = await open();
  const answer = await ssh.run("devvm", ["echo said; exit 255"], limits);
  expect(answer).toMatchObject({ exit: { kind: "exited", code: 255 }, stdout: "said\n" });
});

test("output beyond the limit is counted and dropped", async () => {
  const ssh = await open();
  const answer = await ssh.run("devvm", ["head -c 5000 /dev/zero | tr '\\0' x"], {
    ...limits,
    outputBytesMax: 1_000,
  });
  expect(answer.stdout.length).toBe(1_000);
  expect(answer.droppedBytes).toBe(4_000);
});

test("calls share one warm connection", async () => {
  const ssh = await open();
  const pids = await Promise.all(Array.from({ length: 30 }, () => connectionPid(ssh)));
  expect(new Set(pids).size).toBe(1);
});

test("a call whose deadline passes while others hold the connection is not sent", async () => {
  const ssh = await open();
  const holders = await Promise.all(Array.from({ length: 8 }, () => ssh.start("devvm", ["cat"])));
  const late = await ssh.run("devvm", ["true"], { ...limits, deadlineMs: 50 });
  expect(late.exit).toMatchObject({ kind: "not_sent", cause: "overloaded" });
  for (const holder of holders) if (holder.kind === "started") holder.stdin.end();
  const answer = await ssh.run("devvm", ["echo free"], limits);
  expect(answer.stdout).toBe("free\n");
});

test("an urgent call to a hypervisor does not wait behind what is not", async () => {
  const ssh = await open({ hosts: hosts({ side: "hypervisor", pinnedHostKey: sshd.hostPublicKey }) });
  const holding = Array.from({ length: 30 }, () =>
    ssh.run("devvm", [`while [ -e ${dir} ]; do sleep 0.2; done`], { ...limits, deadlineMs: null }),
  );
  const urgent = await Promise.all(
    Array.from({ length: 2 }, () => ssh.run("devvm", ["echo now"], { ...limits, urgent: true })),
  );
  expect(urgent.map(({ stdout }) => stdout)).toEqual(["now\n", "now\n"]);
  expect(await Promise.race([...holding, Promise.resolve("all wait")])).toBe("all wait");
  await ssh.close();
  await Promise.all(holding);
});

test("a deadline ends the waiting though the far side goes on, and the next calls work", async () => {
  const ssh = await open();
  for (let n = 0; n < 5; n++) {
    const answer = await ssh.run("devvm", [`echo begun; while [ -e ${dir} ]; do sleep 0.2; done`], {
      ...limits,
      deadlineMs: 1_000,
    });
    expect(answer.deadlinePassed).toBe(true);
  }
  expect((await ssh.run("devvm", ["echo next"], limits)).stdout).toBe("next\n");
});

test("a killed stream ends at once though the far side goes on", async () => {
  const ssh = await open();
  const started = await ssh.start("devvm", [`echo begun; while [ -e ${dir} ]; do sleep 0.2; done`]);
  if (started.kind !== "started") throw new Error(started.reason);
  started.stderr.resume();
  await new Promise((resolve) => started.stdout.once("data", resolve));
  started.kill();
  expect(await started.exit).toMatchObject({ kind: "signalled" });
});

test("sshd's own limit on sessions loses no call", async () => {
  await restartSshd({ config: ["MaxSessions 2"] });
  const ssh = await open();
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, n) => ssh.run("devvm", [`echo ${n}`], limits)),
  );
  expect(answers.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 8 }, (_, n) => `${n}\n`));
});

test("a stream passes bytes both ways and tells how it ended", async () => {
  const ssh = await open();
  const started = await ssh.start("devvm", ["cat; exit 7"]);
  if (started.kind !== "started") throw new Error(started.reason);
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  const received: Buffer[] = [];
  started.stdout.on("data", (chunk: Buffer) => received.push(chunk));
  started.stderr.resume();
  started.stdin.end(bytes);
  expect(await started.exit).toEqual({ kind: "exited", code: 7 });
  expect(Buffer.concat(received)).toEqual(bytes);
});

test("after the master was killed the next call works", async () => {
  const ssh = await open();
  const before = await connectionPid(ssh);
  for (const pid of masterPids()) process.kill(pid, "SIGKILL");
  const answer = await ssh.run("devvm", ["echo again"], limits);
  expect(answer).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "again\n", stderr: "" });
  expect(await connectionPid(ssh)).not.toBe(before);
});

test("after the master was stopped the next call works", async () => {
  const ssh = await open();
  await connectionPid(ssh);
  for (const pid of masterPids()) process.kill(pid, "SIGSTOP");
  const answer = await ssh.run("devvm", ["echo again"], limits);
  expect(answer).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "again\n" });
});

test("a read-only call that hears nothing over a dead line is answered over a fresh one", async () => {
  const ssh = await open();
  const far = Number(await connectionPid(ssh));
  // The far end of the warm connection stops: the local master is alive and its line is dead.
  process.kill(far, "SIGSTOP");
  const shown: string[] = [];
  const answer = await ssh.run("devvm", ["echo fresh"], {
    ...limits,
    onOutput: (_channel, text) => shown.push(text),
    repeatable: { firstOutputMs: 1_000 },
  });
  process.kill(far, "SIGKILL");
  expect(answer).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "fresh\n" });
  expect(shown).toEqual(["fresh\n"]);
});

test("a read-only call is sent once more when its connection is lost, any other is not", async () => {
  const ssh = await open();
  const killsItsLineOnce = (mark: string) => [
    `echo run >> ${join(dir, mark)}; [ $(wc -l < ${join(dir, mark)}) = 1 ] && kill -9 $PPID; echo second`,
  ];
  const repeated = await ssh.run("devvm", killsItsLineOnce("a"), {
    ...limits,
    repeatable: { firstOutputMs: null },
  });
  expect(repeated).toMatchObject({ exit: { kind: "exited", code: 0 }, stdout: "second\n" });
  const once = await ssh.run("devvm", killsItsLineOnce("b"), limits);
  expect(once.exit).toEqual({ kind: "exited", code: 255 });
  expect(readFileSync(join(dir, "b"), "utf8")).toBe("run\n");
});

test("after the key agent died it is started again with the key", async () => {
  const ssh = await open();
  await connectionPid(ssh);
  process.kill(agentPid(), "SIGKILL");
  for (const pid of masterPids()) process.kill(pid, "SIGKILL");
  // Its file is gone by now: the key is kept.
  rmSync(key.path);
  const answer = await ssh.run("devvm", ["echo again"], limits);
  expect(answer.stdout).toBe("again\n");
});

test("a key without its last newline, with carriage returns, loads", async () => {
  writeFileSync(key.path, readFileSync(key.path, "utf8").trim().replaceAll("\n", "\r\n"), { mode: 0o644 });
  const ssh = await open();
  expect(ssh.problem()).toBe(null);
  expect((await ssh.run("devvm", ["echo in"], limits)).stdout).toBe("in\n");
});

test("a missing key is a problem with its mend, and is taken up once it is there", async () => {
  const text = readFileSync(key.path, "utf8");
  rmSync(key.path);
  const ssh = await open();
  expect(ssh.problem()).toContain("does not exist");
  const answer = await ssh.run("devvm", ["true"], limits);
  expect(answer.exit).toMatchObject({ kind: "not_sent", cause: "no_key" });
  writeFileSync(key.path, text, { mode: 0o600 });
  expect((await ssh.run("devvm", ["echo in"], limits)).stdout).toBe("in\n");
  expect(ssh.problem()).toBe(null);
});

test.each([
  ["no key at all", () => undefined, "BREAKGLASS_KEY_PATH"],
  ["an encrypted key", () => makeKey(dir, "locked", "secret").path, "passphrase"],
  ["a file that is no key", () => join(dir, "key.pub"), "private key"],
  ["a folder", () => dir, "could not be read"],
])("%s is a problem with its mend", async (_name, keyPath, mend) => {
  const ssh = await open({ keyPath: keyPath() });
  expect(ssh.problem()).toContain(mend);
  expect((await ssh.run("devvm", ["true"], limits)).exit).toMatchObject({
    kind: "not_sent",
    cause: "no_key",
  });
});

test("an accepted host key is remembered, and a changed one is refused with both fingerprints", async () => {
  const first = await open();
  await connectionPid(first);
  await first.close();
  expect(readFileSync(join(dir, "known", "known_hosts"), "utf8")).toContain(sshd.hostPublicKey);
  const fingerprint = () =>
    execFileSync("ssh-keygen", ["-lf", join(dir, "host_key.pub")], { encoding: "utf8" }).split(" ")[1]!;
  const known = fingerprint();
  rmSync(join(dir, "host_key"));
  rmSync(join(dir, "host_key.pub"));
  await restartSshd();

  const ssh = await open();
  const { exit } = await ssh.run("devvm", ["true"], limits);
  expect(exit).toMatchObject({ kind: "not_sent", cause: "host_key_changed" });
  const { reason } = exit as { reason: string };
  expect(reason).toContain(known);
  expect(reason).toContain(fingerprint());
});

test("with a pinned host key only that one is accepted", async () => {
  const pinned = await open({
    hosts: hosts({ side: "hypervisor", pinnedHostKey: `10.0.0.1 ${sshd.hostPublicKey} host` }),
  });
  expect((await pinned.run("devvm", ["echo in"], limits)).stdout).toBe("in\n");
  const other = await open({ hosts: hosts({ side: "hypervisor", pinnedHostKey: key.publicKey }) });
  expect((await other.run("devvm", ["true"], limits)).exit).toMatchObject({
    kind: "not_sent",
    cause: "host_key_changed",
  });
});

test("an account that does not accept the key, and a port where nobody listens, are told apart", async () => {
  await restartSshd({ authorizedKeys: [] });
  const ssh = await open();
  expect((await ssh.run("devvm", ["true"], limits)).exit).toMatchObject({
    kind: "not_sent",
    cause: "denied",
  });
  await sshd.stop();
  expect((await ssh.run("devvm", ["true"], limits)).exit).toMatchObject({
    kind: "not_sent",
    cause: "unreachable",
  });
});

test("what cannot be sent is refused before anything is started", async () => {
  const ssh = await open();
  for (const [alias, command] of [
    ["elsewhere", "true"],
    ["devvm", ""],
    ["devvm", "echo \0"],
    ["devvm", "x".repeat(200_000)],
  ] as const) {
    expect((await ssh.run(alias, [command], limits)).exit).toMatchObject({
      kind: "not_sent",
      cause: "unusable",
    });
  }
});

test("words that look like options are part of the command", async () => {
  const ssh = await open();
  const answer = await ssh.run("devvm", ["-V"], limits);
  expect(answer.stdout).not.toContain("OpenSSH");
  expect(answer.stderr).not.toContain("OpenSSH");
});

test("closing leaves no process and no folder behind", async () => {
  const ssh = await open();
  await connectionPid(ssh);
  const folder = runtimeFolders()[0]!;
  expect(masterPids().length).toBe(1);
  await ssh.close();
  expect((await ssh.run("devvm", ["true"], limits)).exit).toMatchObject({
    kind: "not_sent",
    cause: "closed",
  });
  await expect.poll(() => processes().filter(({ args }) => args.includes(folder))).toEqual([]);
  expect(() => readFileSync(join(folder, "config"))).toThrow();
});

test("closing ends an attempt on a host that takes the connection and says nothing", async () => {
  const silent = createServer((socket) => socket.on("error", () => {}).resume());
  const taken = new Promise((resolve) => silent.once("connection", resolve));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const ssh = await open({ hosts: hosts({ port }) });
  const call = ssh.run("devvm", ["true"], limits);
  await taken;
  await ssh.close();
  // Had it been awaited, ssh's own limit would have made it unreachable.
  expect((await call).exit).toMatchObject({ kind: "not_sent", cause: "closed" });
  // Its process is gone: the listener has no connection left to wait for.
  await new Promise((resolve) => silent.close(resolve));
});
