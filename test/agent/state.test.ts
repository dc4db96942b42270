import { describe, expect, onTestFinished, test } from "vitest";
import { randomUUID } from "node:crypto";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statfsSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Script } from "../../demo/model/script.ts";
import { errors, say, stageWith, texts, type StageOptions } from "./stage.ts";

const script: Script = ({ prompt }) => say(`You said: ${prompt.slice(0, 40)}`);
const digest = "By the record: a heron.";

function echoing(options: Partial<StageOptions> = {}) {
  return stageWith({ script, ...options });
}

/** A disk of its own, in memory. Only root may mount one, and in some containers not even root. */
function disk(size: string): { readonly path: string; readonly readOnly: () => void } | null {
  const path = mkdtempSync(join(tmpdir(), "bg-disk-"));
  const mount = (...args: string[]) => execFileSync("mount", args, { stdio: "ignore" });
  try {
    mount("-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path);
  } catch {
    rmSync(path, { recursive: true });
    return null;
  }
  onTestFinished(() => {
    execFileSync("umount", ["--lazy", path]);
    rmSync(path, { recursive: true });
  });
  return { path, readOnly: () => mount("-o", "remount,ro", path) };
}

/** Writes until nothing more fits. Answers what frees it again. */
function fill(path: string): () => void {
  const ballast = join(path, "ballast");
  try {
    for (;;) appendFileSync(ballast, Buffer.alloc(64 * 1024));
  } catch {
    // Full to the last page.
    for (const size of [4096, 512, 1])
      try {
        for (;;) appendFileSync(ballast, Buffer.alloc(size));
      } catch {
        // Not even so much.
      }
  }
  expect(statfsSync(path).bavail).toBe(0);
  return () => truncateSync(ballast, 0);
}

describe("the agent's folder", { timeout: 60_000 }, () => {
  test("gone while its process is warm is made anew, and the next turn goes on", async () => {
    const stage = await echoing();
    const [session, turn] = [randomUUID(), randomUUID()];
    await stage.play("one", { session, turn });
    rmSync(join(stage.sessionsDir, session), { recursive: true });
    const second = randomUUID();
    const warm = await stage.play("two", {
      session,
      turn: second,
      resume: session,
      after: { turn, end: "done" },
      digest,
    });
    expect(["done", "failed"]).toContain(warm.end);
    if (warm.end === "failed") expect(errors(warm)).toHaveLength(1);
    await stage.agent.release(session);
    const next = await stage.play("three", {
      session,
      resume: session,
      after: { turn: second, end: warm.end },
      digest,
    });
    expect(next.end).toBe("done");
    expect(texts(next)).toEqual(["You said: three"]);
    expect(stage.bodies.at(-1)).toContain("heron");
  });

  test("that is full keeps no turn from being answered; what was not kept the record tells the next process", async ({
    skip,
  }) => {
    const own = disk("4m");
    if (own === null) return skip("a disk of its own cannot be mounted here");
    const stage = await echoing({ sessionsDir: join(own.path, "sessions") });
    mkdirSync(stage.sessionsDir);
    const [session, turn] = [randomUUID(), randomUUID()];
    expect((await stage.play("one", { session, turn })).end).toBe("done");
    const free = fill(own.path);
    const second = randomUUID();
    const warm = await stage.play("two", { session, turn: second, after: { turn, end: "done" }, digest });
    expect(texts(warm)).toEqual(["You said: two"]);
    await stage.agent.release(session);
    const other = await stage.play("hello", { session: randomUUID() });
    expect(other.end).toBe("done");
    await stage.agent.release(session);
    const third = randomUUID();
    const after = { turn: second, end: "done" } as const;
    const resumed = await stage.play("three", { session, turn: third, resume: session, after, digest });
    expect(resumed.end).toBe("done");
    expect(stage.bodies.at(-1)).toContain("heron");
    await stage.agent.release(session);
    free();
    const last = { turn: third, end: "done" } as const;
    const next = await stage.play("four", { session, resume: session, after: last, digest });
    expect(next.end).toBe("done");
    expect(stage.bodies.at(-1)).toContain("heron");
  });

  test("that is read-only is named where a new session needs one, and an old session goes on", async ({
    skip,
  }) => {
    const own = disk("4m");
    if (own === null) return skip("a disk of its own cannot be mounted here");
    const stage = await echoing({ sessionsDir: join(own.path, "sessions") });
    mkdirSync(stage.sessionsDir);
    const session = randomUUID();
    expect((await stage.play("one", { session })).end).toBe("done");
    await stage.agent.release(session);
    own.readOnly();
    const another = await stage.play("hello", { session: randomUUID() });
    expect(another.end).toBe("failed");
    expect(errors(another)).toEqual([
      expect.stringMatching(/could not be started: .*\/sessions\/.* Mend that, then send the prompt again/),
    ]);
    const resumed = await stage.play("two", { session, resume: session });
    expect(texts(resumed)).toEqual(["You said: two"]);
    expect(stage.bodies.at(-1)).toContain('"text":"one"');
  });
});
