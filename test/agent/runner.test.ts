import { spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { SessionId } from "../../src/protocol/ids.ts";
import { accountRunner } from "../../src/server/agent/runner/account.ts";
import type { Cage, Runner } from "../../src/server/agent/runner/runner.ts";
import { openRunner } from "../../src/server/agent/runner/runner.ts";
import { canHaveAccounts, makeAccount } from "./account.ts";
import { kinds, openKind, startProgram, type Kind } from "./runners.ts";
import { markedSleep } from "./stage.ts";

vi.setConfig({ testTimeout: 120_000 });

/** The agent of these tests: it does what its arguments say. */
const executable = "/bin/bash";

/** What the holder is to hold. */
export interface HolderTask {
  readonly kind: "bubblewrap" | "none" | "account" | "runner";
  readonly account: string;
  readonly cage: "bubblewrap" | "none";
  readonly socketPath: string;
  readonly sessionsDir: string;
  readonly script: string;
  readonly session: SessionId;
  readonly doorPath: string;
}

describe.each(kinds)("a runner (%s)", (kind) => {
  test("hands arguments, environment and stdin on, and the output and the exit code back", async () => {
    const { begin } = await opened(kind);
    const { running } = begin('echo "$1 $GREETING ${SECRET-none}"; echo loud >&2; tr a-z A-Z; exit 7', {
      args: ["sh", "two words"],
      env: { GREETING: "good day" },
    });
    running.stdin.end("what was said\n");
    const [said, loud] = await Promise.all([text(running.stdout), text(running.stderr)]);
    expect(said).toBe("two words good day none\nWHAT WAS SAID\n");
    expect(loud).toBe("loud\n");
    expect(await running.exit).toEqual({ kind: "exited", code: 7 });
  });

  test("megabytes go both ways whole, at the pace of who reads", async () => {
    const { begin } = await opened(kind);
    const bytes = randomBytes(8 * 1024 * 1024);
    // As base64 in lines: an agent's line has a bound.
    const lines = Buffer.from((bytes.toString("base64").match(/.{1,4000}/g) ?? []).join("\n"));
    const { running } = begin("cat");
    running.stdin.end(lines);
    // Nobody reads for a while: nothing may be lost by that.
    await pause(0);
    const back = await buffer(running.stdout);
    expect(hash(back)).toBe(hash(lines));
    expect(await running.exit).toEqual({ kind: "exited", code: 0 });
  });

  test("a sweep ends what the agent has left running, in sessions of their own too, and not the agent", async () => {
    const { begin } = await opened(kind);
    const sleep = markedSleep();
    const { running, sweep } = begin(
      `setsid sleep ${sleep.seconds} & echo begun; read -r word; echo "$word"`,
    );
    await heard(running.stdout, "begun");
    await until(() => sleep.living());
    expect(await sweep()).toBe(true);
    expect(sleep.living()).toBe(false);
    running.stdin.end("still here\n");
    expect(await text(running.stdout)).toBe("still here\n");
  });

  test("a kill ends all of it, although nobody reads and it does not read either", async () => {
    const { begin } = await opened(kind);
    const sleep = markedSleep();
    const { running, kill } = begin(`setsid sleep ${sleep.seconds} & yes`);
    running.stdin.write(Buffer.alloc(1024 * 1024));
    await until(() => sleep.living());
    running.stdout.once("readable", () => {});
    await kill();
    expect(sleep.living()).toBe(false);
    expect((await running.exit).kind).not.toBe("lost");
  });

  test("with the agent ends what it has started", async () => {
    const { begin } = await opened(kind);
    const sleep = markedSleep();
    const { running } = begin(`setsid sleep ${sleep.seconds} & read -r _; kill -9 $$`);
    await until(() => sleep.living());
    running.stdin.end("\n");
    running.stdout.resume();
    running.stderr.resume();
    const end = await running.exit;
    expect(end).toSatisfy(() => end.kind === "signalled" || (end.kind === "exited" && end.code === 137));
    expect(sleep.living()).toBe(false);
  });

  test("knocks at the door are answered, several at once, and the whole answer comes", async () => {
    const { begin, knocks } = await opened(kind);
    const knock = `const s = require("net").connect(process.env.DOOR); let n = 0; s.on("data", (d) => (n += d.length)).on("end", () => console.log(process.argv[1], n)); s.write(process.argv[1] + "\\n")`;
    const { running } = begin(`for i in 1 2 3 4 5 6 7 8; do node -e '${knock}' "$i" & done; wait`);
    const said = (await text(running.stdout)).trim().split("\n").toSorted();
    expect(await text(running.stderr)).toBe("");
    expect(said).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((i) => `${i} ${answerBytes}`));
    expect(knocks.toSorted()).toEqual(["1", "2", "3", "4", "5", "6", "7", "8"]);
  });

  test("what a session keeps is there for its next agent, and two agents are two", async () => {
    const { begin, places } = await opened(kind);
    const first = begin(`cd "$HOME"; echo kept >note; pwd; exec cat`);
    await heard(first.running.stdout, places.workspace);
    const other = begin("cat note 2>&1", { session: randomUUID() });
    expect(await text(other.running.stdout)).not.toContain("kept");
    await first.kill();
    expect(await text(begin("cat note").running.stdout)).toBe("kept\n");
  });

  test("a server that is killed leaves nothing of its agents", async () => {
    const sleep = markedSleep();
    const task = await holderTask(kind, `setsid sleep ${sleep.seconds} & echo begun; exec sleep 100000`);
    const holder = spawn(process.execPath, [resolve("test/agent/holder.ts"), JSON.stringify(task)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await heard(holder.stdout, "begun");
    await until(() => sleep.living());
    holder.kill("SIGKILL");
    // The test's own time ends what never does.
    await until(() => !sleep.living());
  });
});

describe.each(kinds.filter((kind) => /^(account|runner)/.test(kind)))("a runner of its own (%s)", (kind) => {
  test("that is killed is a lost agent and leaves nothing; it is told, and comes back", async () => {
    const { begin, runner, program, restart } = await opened(kind);
    const sleep = markedSleep();
    const { running, kill } = begin(`setsid sleep ${sleep.seconds} & echo begun; exec sleep 100000`);
    await heard(running.stdout, "begun");
    process.kill(program(), "SIGKILL");
    const end = await running.exit;
    expect(end).toEqual({ kind: "lost", reason: expect.stringMatching(/went away.*ended with it/) });
    await kill();
    await until(() => !sleep.living());
    // By then its line has closed too: what it said of itself before holds no more.
    await until(() => / not (there|answer) now\.$/.test(runner.isolation().says));
    await restart();
    // It is looked for again, until it answers.
    while ((await runner.problem()) !== null) await pause(5);
    const again = begin("echo again");
    expect(await text(again.running.stdout)).toBe("again\n");
  });
});

describe("where it cannot be", () => {
  test("a runner that nobody has started is a problem with its mend, and a cage asked for throws", async () => {
    const root = scratch();
    const runner = openRunner({
      isolation: { kind: "runner", socketPath: join(root, "nobody.sock") },
      sessionsDir: root,
      readable: [],
    });
    expect(await runner.problem()).toMatch(/does not answer.*breakglass runner --socket.*power buttons work/);
    expect(runner.isolation()).toMatchObject({
      kind: "runner",
      says: expect.stringMatching(/does not answer now/),
    });
  });

  test("who answers on the socket but is no runner is told so", async () => {
    const root = scratch();
    const socketPath = join(root, "other.sock");
    const server = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await listening(server, socketPath);
    const runner = openRunner({ isolation: { kind: "runner", socketPath }, sessionsDir: root, readable: [] });
    expect(await runner.problem()).toMatch(
      /does not answer \((it spoke nonsense|it hung up|it is no runner)/,
    );
  });

  test("a runner without a cage that could read what the server can is told as not confined; in another container it is not", async () => {
    const root = scratch();
    const said = async (within: readonly string[]) => {
      const socketPath = join(root, `${within.length}.sock`);
      const args = ["--socket", socketPath, "--sessions", root, "--claude", executable, "--cage", "none"];
      const program = await startProgram(args, within);
      onTestFinished(() => void program.kill("SIGKILL"));
      const runner = openRunner({
        isolation: { kind: "runner", socketPath },
        sessionsDir: root,
        readable: [],
      });
      onTestFinished(() => runner.close());
      expect(await runner.problem()).toBeNull();
      return runner.isolation();
    };
    expect(await said([])).toMatchObject({
      kind: "none",
      says: expect.stringMatching(/^Not confined: .*the key included/),
    });
    // A container in little: processes and mounts of its own.
    const container = [
      "/usr/bin/bwrap",
      "--bind",
      "/",
      "/",
      "--dev",
      "/dev",
      "--unshare-pid",
      "--proc",
      "/proc",
    ];
    if (kinds.includes("bubblewrap"))
      expect(await said([...container, "--die-with-parent", "--"])).toMatchObject({ kind: "runner" });
  });

  test("two runners on one socket: the second does not start, and the first goes on", async () => {
    const { socketPath, runner } = await openProgram();
    const second = startProgram(["--socket", socketPath, "--sessions", scratch()]);
    await expect(second).rejects.toThrow(/Another runner listens/);
    expect(await runner.problem()).toBeNull();
  });
});

describe.skipIf(!canHaveAccounts)("an account", () => {
  const problemOf = async (account: string, more: { sessionsDir?: string; installed?: string } = {}) => {
    const runner = accountRunner({
      account,
      sessionsDir: join(scratch(), "sessions"),
      readable: [],
      executable,
      ...more,
    });
    onTestFinished(() => runner.close());
    return runner.problem();
  };
  const made = () => {
    const account = makeAccount();
    onTestFinished(() => account.remove());
    return account;
  };

  test("that is not there, or is root, is a problem with its mend", async () => {
    expect(await problemOf("nobody-of-this-name")).toMatch(/no such account.*useradd/);
    expect(await problemOf("root")).toMatch(/it is root/);
  });

  test("that cannot read the program or reach its folder is a problem that names the place", async () => {
    const { name } = made();
    const closed = scratch();
    chmodSync(closed, 0o700);
    expect(await problemOf(name, { installed: closed })).toMatch(/cannot use .*Install Breakglass/);
    expect(await problemOf(name, { sessionsDir: join(closed, "sessions") })).toMatch(
      /cannot use|cannot be made/,
    );
    const others = scratch();
    expect(await problemOf(name, { sessionsDir: others })).toMatch(/belongs to another.*chown -R/);
  });

  test("in whose name something else runs is not taken, and that goes on", async () => {
    const account = made();
    const sleep = markedSleep();
    const stranger = spawn("sleep", [sleep.seconds], { uid: account.uid, gid: account.uid, stdio: "ignore" });
    onTestFinished(() => void stranger.kill("SIGKILL"));
    await until(() => sleep.living());
    expect(await problemOf(account.name)).toMatch(new RegExp(`others do \\(sleep, pid ${stranger.pid}\\)`));
    expect(sleep.living()).toBe(true);
  });

  test("has no further groups, no capability, no way to more of them, and bounds", async () => {
    const { begin } = await opened("account, without a cage");
    const { running } = begin(
      `id -G | wc -w; grep -c 'Cap\\(Inh\\|Prm\\|Eff\\|Bnd\\|Amb\\):.0*$' /proc/self/status; grep NoNewPrivs /proc/self/status | tr -d '\\t'; ulimit -c -u`,
    );
    const said = await text(running.stdout);
    expect(said.split("\n").slice(0, 3)).toEqual(["1", "5", "NoNewPrivs:1"]);
    expect(said).toMatch(/core file size.* 0\n.*max user processes.* 1024\n/);
  });

  test("a program that sheds every mark still ends when the last agent does", async () => {
    const { begin } = await opened("account, without a cage");
    const sleep = markedSleep();
    const { running, kill } = begin(`env -i setsid setsid --fork sleep ${sleep.seconds}; echo begun; cat`);
    await heard(running.stdout, "begun");
    await until(() => sleep.living());
    await kill();
    await until(() => !sleep.living());
  });
});

/** Of the door's answer: more than a socket holds. */
const answerBytes = 3 * 1024 * 1024;

async function opened(kind: Kind) {
  const { runner, root, program, sessionsDir, restart } = await openKind(kind, executable);
  expect(await runner.problem()).toBeNull();
  const doorPath = join(root, "door.sock");
  const knocks: string[] = [];
  const door = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (word: Buffer) => {
      knocks.push(word.toString().trim());
      socket.end(Buffer.alloc(answerBytes));
    });
  });
  await listening(door, doorPath);
  const session = randomUUID();
  const errandOf = (id: SessionId) => ({
    session: id,
    executable,
    door: { socketPath: doorPath, binDir: resolve("src/server/broker/bin") },
  });
  const begin = (
    script: string,
    more: { args?: readonly string[]; env?: Record<string, string>; session?: SessionId } = {},
  ): Cage => {
    const errand = errandOf(more.session ?? session);
    const places = runner.places(errand);
    const env = { PATH: places.path, HOME: places.workspace, DOOR: places.brokerSocket, ...more.env };
    const cage = runner.start({ ...errand, args: ["--norc", "-c", script, ...(more.args ?? [])], env });
    onTestFinished(() => cage.kill());
    return cage;
  };
  return { runner, begin, knocks, program, sessionsDir, restart, places: runner.places(errandOf(session)) };
}

async function holderTask(kind: Kind, script: string): Promise<HolderTask> {
  const root = scratch();
  const task = {
    script,
    session: randomUUID(),
    doorPath: join(root, "door.sock"),
    socketPath: join(root, "runner.sock"),
    sessionsDir: join(root, "sessions"),
    account: "",
    cage: kind.endsWith("in a cage") ? ("bubblewrap" as const) : ("none" as const),
  };
  await listening(createServer(), task.doorPath);
  if (kind === "bubblewrap" || kind === "none") return { ...task, kind };
  if (kind.startsWith("account")) {
    const account = makeAccount();
    onTestFinished(() => account.remove());
    return { ...task, kind: "account", account: account.name };
  }
  const { socketPath, sessionsDir, cage } = task;
  mkdirSync(sessionsDir);
  const args = ["--socket", socketPath, "--sessions", sessionsDir, "--claude", executable, "--cage", cage];
  const program = await startProgram(args);
  onTestFinished(() => void program.kill("SIGTERM"));
  return { ...task, kind: "runner" };
}

async function openProgram(): Promise<{ readonly socketPath: string; readonly runner: Runner }> {
  const root = scratch();
  const socketPath = join(root, "runner.sock");
  const program = await startProgram(["--socket", socketPath, "--sessions", root, "--claude", executable]);
  onTestFinished(() => void program.kill("SIGTERM"));
  const runner = openRunner({ isolation: { kind: "runner", socketPath }, sessionsDir: root, readable: [] });
  onTestFinished(() => runner.close());
  return { socketPath, runner };
}

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "bg-runner-"));
  chmodSync(folder, 0o755);
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function listening(server: Server, path: string): Promise<void> {
  server.listen(path);
  await once(server, "listening");
  // Accounts other than ours knock too.
  chmodSync(path, 0o777);
  onTestFinished(() => void server.close());
}

/** Reads on until this was said, and leaves what follows unread. */
async function heard(stream: Readable, word: string): Promise<void> {
  let said = "";
  while (!said.includes(word)) {
    const chunk: unknown = stream.read();
    if (chunk !== null) said += String(chunk);
    else if (stream.readableEnded) throw new Error(`"${word}" was never said: ${said}`);
    else await once(stream, "readable");
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(5);
}

const hash = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
