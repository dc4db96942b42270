import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ExecSettled } from "../../src/protocol/events.ts";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import { parseSsh } from "../../src/server/broker/ask.ts";
import { endThere } from "../../src/server/broker/end-there.ts";
import { script } from "../../src/server/broker/end-there-script.ts";
import { runFixed, type FixedAsk } from "../../src/server/broker/fixed.ts";
import { Execs } from "../../src/server/broker/exec.ts";
import { KeptOutputs } from "../../src/server/broker/kept.ts";
import { Output } from "../../src/server/broker/output.ts";
import { runGuest } from "../../src/server/broker/run-guest.ts";
import type { Channel, Sink } from "../../src/server/broker/sink.ts";
import type { SshFinished } from "../../src/server/ssh/ssh.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { brokerStage, shim, startShim, type BrokerStage } from "./stage.ts";

// Each waits for real processes to come and go; this ends what hangs.
vi.setConfig({ testTimeout: 120_000 });

let stage: BrokerStage;

beforeEach(async () => {
  stage = await brokerStage();
});
afterEach(() => stage.close());

const settled = (): ExecSettled[] =>
  stage.events.filter((event): event is ExecSettled => event.kind === "exec" && event.phase === "settled");

/** Starts what a shell does not let go of by itself, waits until all of it runs, and answers how to see who is left. */
async function startMany(command: (word: string) => string): Promise<{
  child: ReturnType<typeof startShim>;
  left: () => string[];
}> {
  const word = `breakglass-test-${randomUUID()}`;
  const child = startShim(stage.door, "ssh", ["devvm", command(word)]);
  child.stdin!.on("error", () => {});
  child.stderr!.resume();
  await new Promise<void>((resolve) => {
    let said = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("all run\n")) resolve();
    });
  });
  return { child, left: () => running(word) };
}

/** Processes whose command line has the word in it as an argument of its own. */
function running(word: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => commandLine(pid).includes(word));
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    // It has ended meanwhile.
    return [];
  }
}

/** A program that says when it runs, and then does nothing, whatever happens to its pipes. */
const sleeper = (word: string, ready: string) =>
  `sh -c 'trap "" HUP PIPE TERM; echo run >> ${ready}; while :; do sleep 0.1; done' ${word}`;

const detached = (dir: string) => (word: string) => {
  const ready = join(dir, "ready");
  return [
    `touch ${ready}`,
    `${sleeper(word, ready)} &`,
    `setsid ${sleeper(word, ready)} > /dev/null 2>&1 &`,
    `nohup ${sleeper(word, ready)} > /dev/null 2>&1 &`,
    // A double fork, whose parents are gone at once.
    `( ( setsid ${sleeper(word, ready)} > /dev/null 2>&1 & ) & )`,
    // As sudo does: nothing of our environment is left.
    `env -i PATH="$PATH" ${sleeper(word, ready)} &`,
    `env -i PATH="$PATH" setsid ${sleeper(word, ready)} &`,
    `while [ "$(wc -l < ${ready})" -lt 6 ]; do sleep 0.05; done`,
    "echo all run",
    "wait",
  ].join("\n");
};

test("when the asker dies its command is ended on the guest, with everything that it has detached", async () => {
  const { child, left } = await startMany(detached(stage.dir));
  expect(left().length).toBeGreaterThanOrEqual(6);
  child.kill("SIGKILL");
  await expect.poll(settled, { timeout: 60_000 }).toHaveLength(1);
  expect(settled()[0]!.end).toEqual({
    kind: "ended",
    reason:
      "Whoever asked went away. The command was ended: nothing that can be recognised as its own is left on devvm; what it may have detached is not known.",
  });
  expect(left()).toEqual([]);
});

test("the end of a Turn does the same, and the asker is told", async () => {
  const { child, left } = await startMany(detached(stage.dir));
  const code = new Promise((resolve) => child.once("close", resolve));
  await stage.door.endTurn();
  expect(left()).toEqual([]);
  expect(settled()[0]!.end.kind).toBe("ended");
  expect(await code).toBe(255);
});

test("commands beside it, older ones and other marks are left alone", async () => {
  const other = await startMany((word) => `echo all run; ${sleeper(word, "/dev/null")}`);
  const { child, left } = await startMany(detached(stage.dir));
  child.kill("SIGKILL");
  await expect.poll(settled, { timeout: 60_000 }).toHaveLength(1);
  expect(left()).toEqual([]);
  expect(other.left().length).toBeGreaterThan(0);
  await stage.door.endTurn();
  expect(other.left()).toEqual([]);
});

test("a command of the shell alone, which starts nothing that could carry the mark, is ended too", async () => {
  const { child } = await startMany(() => `trap "" HUP PIPE TERM; echo $$ all run; while :; do :; done`);
  child.kill("SIGKILL");
  await expect.poll(settled, { timeout: 60_000 }).toHaveLength(1);
  expect(settled()[0]!.end.kind).toBe("ended");
});

test("a command that never ends is ended when its time is over, and its asker is told", async () => {
  const clock = handClock();
  const sink = new Listening();
  const word = `breakglass-test-${randomUUID()}`;
  const ended = runGuest(
    { ssh: stage.ssh, clock, newId: randomUUID, sink, output: output(), stop: never },
    { target: "devvm", account: stage.targets[0]!.unprivileged!, command: detached(stage.dir)(word) },
  );
  await sink.heard("all run\n");
  clock.advance(20 * 60_000);
  expect(await ended).toMatchObject({
    end: { kind: "ended", reason: expect.stringContaining("longer than 1200 s") },
    code: 255,
    sentence: expect.stringContaining("nothing that can be recognised as its own is left on devvm"),
  });
  expect(running(word)).toEqual([]);
});

test.each([
  [
    "is refused",
    { ssh: { kind: "not_sent", cause: "unreachable", reason: "Nobody answers. Nothing was sent." } },
    "Nobody answers",
  ],
  ["hangs", { deadlinePassed: true }, "within 5 s"],
  ["answers something else", { stdout: "motd\n" }, "did not say"],
  ["cannot end it", { stdout: "breakglass: still there: 12 13\n" }, "could not be ended: 12 13"],
  ["cannot see others", { stdout: "breakglass: nothing is left in sight\n" }, "sees no processes of others"],
] as const)("when the second channel %s, what became of the command is unknown", async (_, what, because) => {
  const finished: SshFinished = {
    exit: "ssh" in what ? what.ssh : { kind: "exited", code: 1 },
    stdout: "stdout" in what ? what.stdout : "",
    stderr: "",
    droppedBytes: 0,
    deadlinePassed: "deadlinePassed" in what,
  };
  const ssh = { start: stage.ssh.start.bind(stage.ssh), run: async () => finished };
  const stop = new AbortController();
  const sink = new Listening();
  const ended = runGuest(
    {
      ssh: { ...stage.ssh, ...ssh },
      clock: systemClock,
      newId: randomUUID,
      sink,
      output: output(),
      stop: stop.signal,
    },
    { target: "devvm", account: stage.targets[0]!.unprivileged!, command: "echo begun; exec sleep 20" },
  );
  await sink.heard("begun\n");
  stop.abort("The turn ended.");
  const { end } = await ended;
  expect(end).toEqual({ kind: "unknown", reason: expect.stringContaining(because) });
  expect(end).toMatchObject({
    reason: expect.stringMatching(/^The turn ended\. .* may go on running on devvm\.$/),
  });
});

test("a script that is not told of a mark ends nothing, and a guest without the account's shell tells nothing", async () => {
  const { left } = await startMany((word) => `echo all run; ${sleeper(word, "/dev/null")}`);
  const account = stage.targets[0]!.unprivileged!;
  const seen = await endThere(stage.ssh, account, { mark: randomUUID(), sentMsAgo: 60_000, silent: false });
  expect(seen).toEqual({ kind: "gone" });
  expect(left().length).toBeGreaterThan(0);
  await stage.door.endTurn();
});

test("the script for the guest is clean", () => {
  // -e: words are split on purpose; lists begin empty; the tests after && have no effects.
  execFileSync("shellcheck", ["-s", "sh", "-e", "SC2086,SC1007,SC2015", "-"], { input: script });
});

test("when the guest dies under a command its end is unknown, and the agent is told", async () => {
  const child = startShim(stage.door, "ssh", ["devvm", "echo begun; exec sleep 30"]);
  let stderr = "";
  child.stderr!.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const code = new Promise((resolve) => child.once("close", resolve));
  await new Promise((resolve) => child.stdout!.once("data", resolve));
  // Each connection has a session of its own: the listener's end is not theirs.
  for (const pid of childrenOf(stage.sshd.pid)) process.kill(pid, "SIGKILL");
  expect(await code).toBe(255);
  expect(settled()[0]!.end).toMatchObject({ kind: "unknown" });
  expect(stderr).toContain("may go on running on devvm");
});

test("here-documents, pipes and scripts reach the shell as they are, and exit codes come back", async () => {
  const script = "x='a b'\nprintf '%s\\n' \"$x\"\nexit 7\n";
  for (const args of [["devvm", "bash -s"], ["devvm", "sh"], ["devvm"]]) {
    const ran = await shim(stage.door, args, { input: Buffer.from(script) });
    expect([args, ran.code, ran.stdout.toString()]).toEqual([args, 7, "a b\n"]);
  }
  const here = await shim(stage.door, ["devvm", "cat <<'EOF' | tr a-z A-Z\nit's $HOME\nEOF"]);
  expect(here.stdout.toString()).toBe("IT'S $HOME\n");
  expect(settled().map(({ command }) => command)).toEqual([
    "bash -s",
    "sh",
    'exec "$SHELL"',
    "cat <<'EOF' | tr a-z A-Z\nit's $HOME\nEOF",
  ]);
  // As with the real one a signal has no exit code to give.
  expect((await shim(stage.door, ["devvm", "kill -TERM $$"])).code).toBe(255);
  expect(settled().at(-1)!.end.kind).toBe("unknown");
});

test("without a command and with nothing to read there is no shell, and the sentence says what to type", () => {
  const sentence = "Give the command: ssh devvm 'command'";
  expect(parseSsh(["devvm"], false)).toMatchObject({
    kind: "unclear",
    sentence: expect.stringContaining(sentence),
  });
  expect(parseSsh(["-n", "devvm"], true)).toMatchObject({ kind: "unclear" });
  expect(parseSsh(["ssh://observer@devvm:22", "true"])).toMatchObject({ alias: "devvm", user: "observer" });
});

test("-n gives a command nothing to read, and what nobody reads stops nothing", async () => {
  const ran = await shim(stage.door, ["-n", "devvm", "cat; echo end"], { input: Buffer.from("input") });
  expect(ran).toMatchObject({ code: 0, stdout: Buffer.from("end\n") });
  const unread = await shim(stage.door, ["devvm", "echo end"], { input: Buffer.alloc(5_000_000) });
  expect(unread).toMatchObject({ code: 0, stdout: Buffer.from("end\n") });
});

test("text of both directions, escapes and markup in a command are on record as they are", async () => {
  const command =
    ": '\u202e\u2066abc\u2069 \u001b[31m <img src=x onerror=alert(1)> \r'; echo '\u202e<b>\u001b[0m'";
  const ran = await shim(stage.door, ["devvm", command]);
  expect(ran.stdout.toString()).toBe("\u202e<b>\u001b[0m\n");
  expect(settled()[0]).toMatchObject({ command, excerpt: "\u202e<b>\u001b[0m\n" });
});

// Five gigabytes take minutes on two slow cores; where memory grew with the output, a quarter of one would show it.
test("output beyond every bound passes with memory bounded, and is counted to the byte", async () => {
  const whole = 256 * 1024 ** 2;
  const child = startShim(stage.door, "ssh", ["devvm", `head -c ${whole} /dev/zero`]);
  let bytes = 0;
  let most = 0;
  const before = process.memoryUsage().rss;
  for await (const chunk of child.stdout!) {
    bytes += (chunk as Buffer).length;
    most = Math.max(most, process.memoryUsage().rss);
  }
  expect(bytes).toBe(whole);
  expect(most - before).toBeLessThan(120_000_000);
  await expect.poll(settled, { timeout: 20_000 }).toHaveLength(1);
  expect(settled()[0]).toMatchObject({ bytes: whole, cut: { bytes: whole, whole: expect.any(String) } });
});

test("a fixed text runs on the account that owns nothing, in the Operator's name", async () => {
  const by: (string | undefined)[] = [];
  const { ask } = fixed((name) => by.push(name));
  const answer = await ask({ command: "echo hello; exit 3" });
  expect(answer).toEqual({ n: 0, end: { kind: "exited", code: 3 }, output: "hello\n" });
  expect(by).toEqual(["ana", "ana"]);
  expect(stage.events).toMatchObject([{ account: "observer" }, { phase: "settled" }]);
  expect((await ask({ command: "head -c 1000000 /dev/zero" })).output.length).toBe(256 * 1024);
  expect(await ask({ target: "nowhere" })).toMatchObject({ end: { kind: "refused" } });
});

test("a fixed text that takes too long is ended on the guest, and its answer is unknown", async () => {
  const clock = handClock();
  const { ask } = fixed(() => {}, clock);
  const word = `breakglass-test-${randomUUID()}`;
  const command = `${sleeper(word, join(stage.dir, "ready"))} & wait`;
  const asked = ask({ command, timeoutMs: 10_000 });
  await expect.poll(() => running(word), { timeout: 60_000 }).not.toEqual([]);
  clock.advance(10_000);
  expect((await asked).end.kind).toBe("unknown");
  expect(settled()[0]!.end.kind).toBe("ended");
  expect(running(word)).toEqual([]);
});

test("a fixed question to the hypervisor is answered by its status, or refused where there is none", async () => {
  const { ask } = fixed();
  const asked = ask({ on: "power", command: "status" });
  (await stage.hypervisor.next()).answer({ stdout: "status: running\n" });
  expect(await asked).toMatchObject({ end: { kind: "exited", code: 0 }, output: "status: running\n" });
  expect(settled()[0]).toMatchObject({ account: "hypervisor", command: "status" });
});

/** Of sshd: its connections. */
function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === parent)
    .map(Number);
}

function parentOf(pid: string): number | null {
  try {
    return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1]);
  } catch {
    // It has ended meanwhile.
    return null;
  }
}

const never = new AbortController().signal;

const output = () =>
  new Output(
    new KeptOutputs({ store: stage.store, clock: systemClock, log: () => {} }, stage.id).of(0),
    "/none",
  );

function fixed(heardBy: (by: string | undefined) => void = () => {}, clock: Clock = systemClock) {
  const deps = { ...stage, clock, newId: randomUUID, log: () => {} };
  const execs = new Execs(deps, {
    id: stage.id,
    record: async (event, by) => {
      heardBy(by);
      stage.events.push(event);
    },
  });
  const defaults = {
    target: "devvm",
    on: "guest",
    command: "true",
    timeoutMs: 60_000,
    by: "ana",
    signal: never,
  } as const;
  const ask = (asked: Partial<FixedAsk>) =>
    runFixed({ ...deps, execs, stop: never }, { ...defaults, ...asked });
  return { ask };
}

/** Takes what a command says, and tells when it has said something. */
class Listening implements Sink {
  readonly gone = never;
  #said = "";
  #listeners = new Set<() => void>();

  onStdin(): void {}
  accept(): void {}
  drained(): void {}

  send(_channel: Channel, bytes: Buffer): boolean {
    this.#said += bytes.toString();
    for (const listener of this.#listeners) listener();
    return true;
  }

  heard(text: string): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (this.#said.includes(text)) resolve();
      };
      this.#listeners.add(look);
      look();
    });
  }
}
