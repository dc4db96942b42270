import { execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { ExecSettled } from "../../src/protocol/events.ts";
import { systemClock } from "../../src/server/clock.ts";
import { endThere } from "../../src/server/broker/end-there.ts";
import { script } from "../../src/server/broker/end-there-script.ts";
import { runFixed, type FixedAsk } from "../../src/server/broker/fixed.ts";
import { Execs } from "../../src/server/broker/exec.ts";
import { Output } from "../../src/server/broker/output.ts";
import { runGuest } from "../../src/server/broker/run-guest.ts";
import type { Sink } from "../../src/server/broker/sink.ts";
import type { SshFinished } from "../../src/server/ssh/ssh.ts";
import { handClock } from "../agent/hand-clock.ts";
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
    reason: "Whoever asked went away. The command was ended, and nothing of it is left on devvm.",
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
