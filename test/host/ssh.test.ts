import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { breakglassHost, finished, kill, lives, makeHost, testTimeout, type Host } from "./host.ts";
import { jobId, wholeSteps } from "./jobs.ts";

vi.setConfig({ testTimeout });

let host: Host;
let sshd: Sshd;
let ssh: (command: string, env?: Readonly<Record<string, string>>) => ChildProcess;

beforeEach(async () => {
  host = await makeHost();
  const key = makeKey(host.dir, "id");
  const forced = `restrict,command="${breakglassHost} --config ${host.config} 102" ${key.publicKey}`;
  // Whatever a caller would like to have in the environment arrives.
  sshd = await startSshd({ authorizedKeys: [forced], dir: host.dir, config: ["AcceptEnv *"] });
  ssh = (command, env = {}) => {
    const options = [
      "BatchMode=yes",
      "IdentitiesOnly=yes",
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
    ];
    const sent = Object.entries(env).map(([name, value]) => `SetEnv="${name}=${value}"`);
    return spawn(
      "ssh",
      ["-F", "none", "-i", key.path, "-p", String(sshd.port), "-l", sshd.user, "-T"]
        .concat([...options, "LogLevel=ERROR", ...sent].flatMap((option) => ["-o", option]))
        .concat("127.0.0.1", command === "" ? [] : command),
      { stdio: ["ignore", "pipe", "pipe"], env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } },
    );
  };
});
afterEach(async () => {
  await sshd.stop();
  await host.end();
});

/** Resolves once the client has printed `part`. */
const heard = (client: ChildProcess, part: string) =>
  new Promise<void>((resolve, reject) => {
    let said = "";
    client.stdout!.on("data", (text: Buffer) => {
      said += text.toString();
      if (said.includes(part)) resolve();
    });
    client.once("close", () => reject(new Error(`It ended without ${part}: ${said}`)));
  });

it("runs a verb for the key, over a real sshd", async () => {
  const started = await finished(ssh("start"));
  expect(started).toMatchObject({ exit_code: 0, stderr: "", result: { state_after: "running" } });
  expect((await finished(ssh("status"))).stdout).toMatch(/^status: running\n/);
});

it("tells every step while it happens", async () => {
  await host.fault("start", "gate");
  const client = ssh(`v2 start ${jobId(1)}`);
  const all = finished(client);
  await heard(client, '"phase":"starting"');
  await host.openGate("start");
  wholeSteps(await all);
});

it.each([
  ["no command", ""],
  ["a second command", "status; id"],
  ["a substitution", "$(id)"],
  ["a shell", "sh"],
  ["a second line", "status\nid"],
  ["100 kB", "a".repeat(100_000)],
])("gives no shell: %s", async (_, command) => {
  const refused = await finished(ssh(command));
  expect(refused).toMatchObject({ exit_code: 2, result: { result: "refused" } });
});

it.each([
  ["BASH_ENV", "/proc/self/environ"],
  ["ENV", "/proc/self/environ"],
  ["PERL5OPT", "-MBreakglass::Nowhere"],
  ["PERL5LIB", "/nonexistent"],
  ["LD_PRELOAD", "/nonexistent.so"],
  ["LC_ALL", "$(touch never)"],
  ["LC_BREAKGLASS", "() { :; }; exit 1"],
  ["IFS", "t"],
  ["PATH", "/nonexistent"],
  ["SSH_ORIGINAL_COMMAND", "cycle"],
  ["SHELLOPTS", "xtrace"],
])("an environment with %s changes nothing", async (name, value) => {
  // Its stderr may hold words of the login shell that sshd starts before us.
  const told = await finished(ssh("status", { [name]: value }));
  expect(told).toMatchObject({ exit_code: 0, result: { verb: "status", state_after: "stopped" } });
  expect(told.stdout).toMatch(/^status: stopped\n/);
  expect(host.powerCalls()).toEqual([]);
  expect(existsSync(host.file("never"))).toBe(false);
});

it.each([140_000, 1_000_000])(
  "has no effect with %i bytes of command, which are refused before the gate",
  async (length) => {
    // One argument holds at most 128 KiB; ssh joins them.
    const child = spawn(
      "sh",
      ["-c", 'exec "$@"', "sh", "ssh"].concat(sshArguments()).concat(pieces(length)),
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
      },
    );
    expect((await finished(child)).exit_code).not.toBe(0);
    expect(host.powerCalls()).toEqual([]);
  },
);
const pieces = (length: number) => Array.from({ length: length / 10_000 }, () => "a".repeat(9_999));
const sshArguments = () => {
  const [, ...args] = ssh("status").spawnargs;
  return args.slice(0, -1);
};

// Each phase of each verb is held by its gate while the client is killed; in `asked` and `forensics` the job is on its way.
it.each([
  ["start", "asked", null],
  ["start", "forensics", null],
  ["start", "starting", "start"],
  ["stop", "asked", null],
  ["stop", "forensics", null],
  ["stop", "stopping", "stop"],
  ["reset", "asked", null],
  ["reset", "forensics", null],
  ["reset", "resetting", "reset"],
  ["cycle", "asked", null],
  ["cycle", "forensics", null],
  ["cycle", "stopping", "stop"],
  ["cycle", "off", "start"],
  ["cycle", "starting", "start"],
] as const)(
  "a %s whose client is killed in phase %s is carried out, and told to whoever asks",
  async (verb, phase, gated) => {
    if (verb !== "start") await finished(ssh("start"));
    const before = host.pid();
    if (gated !== null) await host.fault(gated, "gate");
    const client = ssh(`v2 ${verb} ${jobId(1)}`);
    const gone = finished(client);
    await heard(client, `"phase":"${phase}"`);
    kill(client.pid!);
    await gone;
    if (gated !== null) await host.openGate(gated);
    const job = await finished(ssh(`v2 attach ${jobId(1)} 0`));
    expect(job).toMatchObject({
      exit_code: 0,
      stderr: "",
      result: { result: "done", job: jobId(1), changed: true },
    });
    wholeSteps(job);
    expect(host.powerCalls().slice(verb === "start" ? 0 : 1)).toEqual(
      verb === "cycle" ? ["stop 102", "start 102"] : [`${verb} 102`],
    );
    expect(lives(before)).toBe(verb === "reset");
    expect(lives(host.pid())).toBe(verb !== "stop");
  },
);

it("a client that ends its side is let go, although the machine it started lives on", async () => {
  const { exit_code } = await finished(ssh("cycle"));
  expect(exit_code).toBe(0);
  expect(lives(host.pid())).toBe(true);
});
