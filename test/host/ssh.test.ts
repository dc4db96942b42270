import { spawn, type ChildProcess } from "node:child_process";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { breakglassHost, finished, kill, lives, makeHost, until, type Host } from "./host.ts";

vi.setConfig({ testTimeout: 60_000 });

let host: Host;
let sshd: Sshd;
let ssh: (...command: string[]) => ChildProcess;

beforeEach(async () => {
  host = await makeHost();
  const key = makeKey(host.dir, "id");
  const forced = `restrict,command="${breakglassHost} --config ${host.config} 102" ${key.publicKey}`;
  sshd = await startSshd({ authorizedKeys: [forced], dir: host.dir });
  ssh = (...command) =>
    spawn(
      "ssh",
      ["-F", "none", "-i", key.path, "-p", String(sshd.port), "-l", sshd.user, "-T", "-o", "BatchMode=yes"]
        .concat([
          "-o",
          "IdentitiesOnly=yes",
          "-o",
          "StrictHostKeyChecking=no",
          "-o",
          "UserKnownHostsFile=/dev/null",
        ])
        .concat(["-o", "LogLevel=ERROR", "127.0.0.1", ...command]),
      { stdio: ["ignore", "pipe", "pipe"], env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } },
    );
});
afterEach(async () => {
  await sshd.stop();
  await host.end();
});

it("runs a verb for the key, over a real sshd", async () => {
  const started = await finished(ssh("start"));
  expect(started).toMatchObject({ exit_code: 0, stderr: "", result: { state_after: "running" } });
  expect((await finished(ssh("status"))).stdout).toMatch(/^status: running\n/);
});

it.each([
  ["no command", ""],
  ["a second command", "status; id"],
  ["a substitution", "$(id)"],
  ["a shell", "sh"],
  ["a second line", "status\nid"],
  ["100 kB", "a".repeat(100_000)],
])("gives no shell: %s", async (_, command) => {
  const refused = await finished(command === "" ? ssh() : ssh(command));
  expect(refused).toMatchObject({ exit_code: 2, result: { result: "refused" } });
});

it.each([140_000, 1_000_000])(
  "has no effect with %i bytes of command, which are refused before the gate",
  async (length) => {
    // One argument holds at most 128 KiB; ssh joins them.
    const child = ssh(...Array.from({ length: length / 10_000 }, () => "a".repeat(9_999)));
    expect((await finished(child)).exit_code).not.toBe(0);
    expect(host.powerCalls()).toEqual([]);
  },
);

it("a cycle whose client is killed in the middle ends with the machine on", async () => {
  await finished(ssh("start"));
  const before = host.pid();
  await host.fault("stop", "gate");
  const client = ssh("cycle");
  const gone = finished(client);
  await host.saw("calls", "stop 102");
  kill(client.pid!);
  await gone;
  await host.openGate("stop");
  await host.saw("log", "ended:0 vmid=102 verb=cycle");
  expect(host.powerCalls()).toEqual(["start 102", "stop 102", "start 102"]);
  expect(lives(before)).toBe(false);
  expect(lives(host.pid())).toBe(true);
});

it("a cycle whose client is killed while evidence is gathered ends with the machine on", async () => {
  await finished(ssh("start"));
  const before = host.pid();
  await host.fault("config", "gate");
  const client = ssh("cycle");
  const gone = finished(client);
  await until(host.dir, () => host.text("calls").split("config 102").length > 2);
  kill(client.pid!);
  await gone;
  await host.openGate("config");
  await host.saw("log", "ended:0 vmid=102 verb=cycle");
  expect(host.pid()).not.toBe(before);
  expect(lives(host.pid())).toBe(true);
});

it("a client that ends its side is let go, although the machine it started lives on", async () => {
  const { exit_code } = await finished(ssh("cycle"));
  expect(exit_code).toBe(0);
  expect(lives(host.pid())).toBe(true);
});
