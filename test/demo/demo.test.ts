import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { debugLog } from "../../demo/guest/contents.ts";
import { hostResult } from "../../src/protocol/outcome.ts";
import { makeKey } from "../doubles/sshd.ts";
import { eventually, run, spawnDemo, sshOptions, type RunningDemo } from "./demo.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let demo: RunningDemo;
beforeEach(async () => {
  demo = await spawnDemo();
});
afterEach(() => demo.end());

const bootId = () => demo.guest("cat /proc/sys/kernel/random/boot_id");
const answersAgain = (before: string) =>
  eventually(bootId, ({ code, stdout }) => code === 0 && stdout !== before);

it("answers the system's ssh client on both sides", async () => {
  expect(await demo.guest("hostname")).toEqual({ code: 0, stdout: "devvm\n", stderr: "" });
  const status = await demo.host("status");
  expect(status).toMatchObject({ code: 0, stderr: "" });
  expect(status.stdout).toMatch(/^status: running\n/);
  expect(hostResult(status.stdout)).toMatchObject({
    result: "done",
    state_after: "running",
    agent: "answers",
  });
});

it("has a fault that can be found and repaired, and a restart that fails before the repair", async () => {
  const look = "df -h /; systemctl --failed --no-legend --plain; journalctl -k --no-pager";
  const before = await demo.guest(look, demo.ready.guest.observeUser);
  expect(before.stdout).toMatch(/ 100% \/\n/);
  expect(before.stdout).toMatch(/^postgresql@15-main\.service loaded failed/m);
  expect(before.stdout).toContain("Out of memory: Killed process");
  const journal = await demo.guest("journalctl -u postgresql@15-main -n 20", demo.ready.guest.observeUser);
  expect(journal.stdout).toContain("No space left on device");

  expect((await demo.guest("systemctl restart postgresql@15-main")).code).toBe(1);
  expect((await demo.guest(`truncate -s 0 ${debugLog}`)).code).toBe(0);
  expect(await demo.guest("systemctl restart postgresql@15-main")).toEqual({
    code: 0,
    stdout: "",
    stderr: "",
  });
  const after = await demo.guest(
    "df -h /; systemctl --failed --no-legend; systemctl is-active postgresql@15-main",
  );
  expect(after.stdout).toMatch(/ 2\d% \/\nactive\n$/);
});

it.each([`rm ${debugLog}`, `> ${debugLog}`, `: > ${debugLog}`, `sudo -n truncate -s 0 ${debugLog}`])(
  "is repaired by %s as well, and not by the account that owns nothing",
  async (command) => {
    expect((await demo.guest(command, demo.ready.guest.observeUser)).code).not.toBe(0);
    expect((await demo.guest("df -h /")).stdout).toContain("100%");
    expect((await demo.guest(`${command}; systemctl restart postgresql@15-main`)).code).toBe(0);
  },
);

it("wedges: no banner, a reset does not cure, a cycle does, and the disk is as it was", async () => {
  await demo.guest("echo kept > /tmp/note");
  const before = await bootId();
  const pid = hostResult((await demo.host("status")).stdout) as unknown as { pid_after: number };
  expect(await demo.control({ do: "wedge" })).toEqual({ ok: true });

  const silent = await demo.guest("true");
  expect(silent).toMatchObject({ code: 255, stderr: expect.stringContaining("banner") });
  // The hypervisor's own word is still "running": no proof of life.
  expect((await demo.host("status")).stdout).toMatch(/^status: running\n/);
  const { stdout: evidence } = await demo.host("forensics");
  expect(evidence).toContain("verdict: io-stall-suspected");
  expect(evidence).toMatch(/"probe":"screen","end":"answered","png":"iVBOR/);

  const reset = await demo.host("reset");
  expect(reset).toMatchObject({ code: 0, stdout: expect.stringContaining("A cycle does") });
  expect(await demo.control({ do: "state" })).toMatchObject({ wedged: true, pid: pid.pid_after });
  expect((await demo.guest("true")).code).toBe(255);

  expect((await demo.host("cycle")).code).toBe(0);
  await answersAgain(before.stdout);
  expect((await demo.guest("cat /tmp/note")).stdout).toBe("kept\n");
  expect((await demo.guest("df -h /")).stdout).toContain("100%");
  expect(await demo.control({ do: "state" })).toMatchObject({ wedged: false, power: "on" });
});

it("refuses connections while it is off, and answers after a start with a boot of its own", async () => {
  const before = await bootId();
  expect((await demo.host("stop")).code).toBe(0);
  expect(await demo.guest("true")).toMatchObject({ code: 255, stderr: expect.stringContaining("refused") });
  expect((await demo.host("status")).stdout).toMatch(/^status: stopped\n/);
  expect((await demo.host("start")).code).toBe(0);
  await answersAgain(before.stdout);
  expect((await demo.guest("uptime")).stdout).toContain("up 0 min");
});

it("boots anew after a reset of a healthy machine", async () => {
  const before = await bootId();
  expect((await demo.host("reset")).code).toBe(0);
  await answersAgain(before.stdout);
});

it("carries a cycle out although whoever asked for it is gone", async () => {
  const before = await bootId();
  const { port, user } = demo.ready.hypervisor;
  const asking = spawn(
    "ssh",
    [...sshOptions(demo.ready), "-p", String(port), "-l", user, "127.0.0.1", "cycle"],
    { stdio: "ignore" },
  );
  await eventually(
    () => demo.control({ do: "state" }),
    ({ power }) => power === "off",
  );
  asking.kill("SIGKILL");
  await once(asking, "exit");
  await answersAgain(before.stdout);
});

it("takes what comes in on stdin: a script, a file, nothing", async () => {
  const as = demo.ready.guest.observeUser;
  expect(await demo.guest("bash -s", as, "hostname\nid -un\n")).toMatchObject({
    code: 0,
    stdout: "devvm\nobserve\n",
  });
  expect(await demo.guest('exec "$SHELL"', as, "hostname\n")).toMatchObject({ stdout: "devvm\n" });
  expect(await demo.guest("cat > /tmp/notes", "root", "kept\n")).toMatchObject({ code: 0, stderr: "" });
  expect((await demo.guest("cat /tmp/notes", as)).stdout).toBe("kept\n");
  expect((await demo.guest("uptime", as, "x".repeat(300_000))).code).toBe(0);
  expect(await demo.guest("wc -c", as, "x".repeat(2_000_000))).toMatchObject({
    code: 125,
    stderr: expect.stringContaining("at most 1048576 bytes"),
  });
});

it("ends what runs under a mark, all of it and nothing else", async () => {
  const [one, other] = [randomUUID(), randomUUID()];
  const sleeping = (mark: string) =>
    demo.guest(`export BREAKGLASS_EXEC=${mark}\necho x > /tmp/${mark}; sleep 600; echo woken`);
  const [first, second] = [sleeping(one), sleeping(other)];
  for (const mark of [one, other])
    await eventually(
      () => demo.guest(`cat /tmp/${mark}`),
      ({ code }) => code === 0,
    );
  const endThere = (mark: string) =>
    demo.guest(`exec /bin/sh -s breakglass-end-there ${mark} 5 1`, demo.ready.guest.observeUser, "true\n");
  const left = { code: 0, stdout: "breakglass: nothing is left\n", stderr: "" };
  expect(await endThere(one)).toEqual(left);
  expect(await first).toMatchObject({ code: 255, stdout: "" });
  expect(await Promise.race([second, demo.guest("echo goes on")])).toMatchObject({ stdout: "goes on\n" });
  expect(await endThere(other)).toEqual(left);
  expect((await second).code).toBe(255);
});

it("lets in one key, three accounts, and commands only", async () => {
  const { guest, hypervisor } = demo.ready;
  const stranger = makeKey(demo.dir, "stranger");
  const asStranger = sshOptions({ ...demo.ready, privateKeyPath: stranger.path });
  expect(
    (await run("ssh", [...asStranger, "-p", String(guest.port), "-l", "root", "127.0.0.1", "id"])).code,
  ).toBe(255);
  expect((await demo.ssh(guest.port, "admin", ["id"])).code).toBe(255);
  expect((await demo.ssh(hypervisor.port, "root", ["status"])).code).toBe(255);
  for (const [port, user] of [
    [guest.port, guest.user],
    [hypervisor.port, hypervisor.user],
  ] as const) {
    expect((await demo.ssh(port, user, [])).code).toBe(255);
    expect((await demo.ssh(port, user, ["-s", "sftp"])).code).toBe(255);
    const forward = await demo.ssh(
      port,
      user,
      [],
      ["-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"],
    );
    expect(forward.code).toBe(255);
    const tunnel = await demo.ssh(port, user, [], ["-W", "127.0.0.1:22"]);
    expect(tunnel.code).toBe(255);
  }
  expect((await demo.host("status; id")).code).toBe(2);
});

it("keeps its key and its folder to itself", async () => {
  expect(statSync(demo.dir).mode & 0o777).toBe(0o700);
  expect(statSync(demo.ready.privateKeyPath).mode & 0o777).toBe(0o600);
});

it("is ended by the end of its stdin, and leaves no process and no folder", async () => {
  await demo.host("cycle");
  await demo.end();
  expect(await demo.exit).toBe(0);
  expect(existsSync(demo.dir)).toBe(false);
  await eventually(
    async () => processesOf(demo.dir),
    (left) => left.length === 0,
  );
});

it("is ended in the middle of a cycle, and leaves no process and no folder", async () => {
  const cycling = demo.host("cycle");
  await eventually(
    () => demo.control({ do: "state" }),
    ({ power }) => power === "off",
  );
  await demo.end();
  // The job itself has not gone on beyond the demo, not even for a moment.
  expect(processesOf(join(demo.dir, "breakglass-host.conf"))).toEqual([]);
  await cycling;
  expect(existsSync(demo.dir)).toBe(false);
  await eventually(
    async () => processesOf(demo.dir),
    (left) => left.length === 0,
  );
});

it("is ended by SIGTERM", async () => {
  demo.child.kill("SIGTERM");
  expect(await demo.exit).toBe(0);
  expect(existsSync(demo.dir)).toBe(false);
});

it("takes its machine's process along when it is killed outright", async () => {
  expect(processesOf(demo.dir).length).toBeGreaterThan(0);
  demo.child.kill("SIGKILL");
  await demo.exit;
  await eventually(
    async () => processesOf(demo.dir),
    (left) => left.length === 0,
  );
  await rm(demo.dir, { recursive: true, force: true });
});

it("answers what its control socket cannot take with a problem, and goes on", async () => {
  const file = join(demo.dir, "asked");
  const nonsense = [
    "",
    "not json",
    "[]",
    "null",
    '{"do":"destroy"}',
    '{"do":"qm"}',
    '{"do":"qm","argv":["start","103"]}',
  ];
  for (const line of nonsense) {
    await writeFile(file, `${line}\n`);
    const answer = await run("perl", [
      "-MIO::Socket::UNIX",
      "-e",
      'my $s = IO::Socket::UNIX->new($ARGV[0]); open F, "<", $ARGV[1]; print $s <F>; $s->flush; print <$s>',
      demo.ready.controlPath,
      file,
    ]);
    const problem: unknown = JSON.parse(answer.stdout);
    expect([line, problem]).toSatisfy(() => "error" in Object(problem) || "err" in Object(problem));
    expect((await demo.guest("true")).code).toBe(0);
  }
});

/** Living processes that name the demo's folder in their arguments. */
function processesOf(dir: string): string[] {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(dir);
    } catch {
      return false;
    }
  });
}
