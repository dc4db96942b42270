import { describe, expect, test } from "vitest";
import { existsSync, globSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { AgentEvent } from "../../src/server/agent/agent.ts";
import type { Script } from "../../demo/model/script.ts";
import { agentPids, bash, commands, isolations, markedSleep, say, stageWith } from "./stage.ts";

/** Resolves when the machine has such a process. */
async function begun(sleep: { living(): boolean }): Promise<void> {
  while (!sleep.living()) await pause(5);
}

/** Resolves when the agent's memory on the disk holds the text. */
async function remembered(sessionsDir: string, text: string): Promise<void> {
  const holds = () =>
    globSync(`${sessionsDir}/*/memory/projects/**/*.jsonl`).some((file) =>
      readFileSync(file, "utf8").includes(text),
    );
  while (!holds()) await pause(5);
}

const sessionOf = (events: readonly AgentEvent[]) =>
  events.flatMap((event) => (event.kind === "session" ? [event.session_id] : []))[0] ?? "";

describe.each(isolations)("at its end, with isolation %s,", { timeout: 60_000 }, (isolation) => {
  test("a cancelled turn leaves nothing, not even a grandchild in a session of its own; the next one resumes", async () => {
    const sleep = markedSleep();
    const detached = `setsid nohup sleep ${sleep.seconds} >/dev/null 2>&1 & exec sleep 1000`;
    const stage = await stageWith({
      isolation,
      script: (asked) => (asked.prompt === "first" ? commands(detached)(asked) : say("Yes.")),
    });
    const stop = new AbortController();
    const told = Promise.withResolvers<void>();
    const playing = stage.play("first", {
      signal: stop.signal,
      onEvent: ({ kind }) => void (kind === "tool" && told.resolve()),
    });
    await told.promise;
    await begun(sleep);
    await remembered(stage.sessionsDir, '"first"');
    stop.abort();
    const { end, events } = await playing;
    expect(end).toBe("cancelled");
    expect(sleep.living()).toBe(false);
    expect(agentPids(stage)).toEqual([]);
    expect(events.map((event) => event.kind)).toEqual(["session", "tool"]);
    const next = await stage.play("second", { resume: sessionOf(events) });
    expect(next.end).toBe("done");
    expect(stage.bodies.at(-1)).toContain('"text":"first"');
  });

  test("a finished turn leaves nothing running but the warm agent itself", async () => {
    const sleep = markedSleep();
    const stage = await stageWith({
      isolation,
      script: commands(`(setsid sleep ${sleep.seconds} >/dev/null 2>&1 &); echo ok`),
    });
    expect((await stage.play("go")).end).toBe("done");
    expect(sleep.living()).toBe(false);
    expect(agentPids(stage)).toHaveLength(1);
  });

  test("an agent killed in mid-turn is an error and a failed turn; the next one resumes and knows of it", async () => {
    const sleep = markedSleep();
    const stage = await stageWith({
      isolation,
      script: (asked) => (asked.prompt === "first" ? commands(`sleep ${sleep.seconds}`)(asked) : say("Yes.")),
    });
    const playing = stage.play("first");
    await begun(sleep);
    // The agent writes its memory a moment behind what it does: killed before that it cannot know.
    await remembered(stage.sessionsDir, '"first"');
    for (const pid of agentPids(stage)) process.kill(pid, "SIGKILL");
    const { end, events } = await playing;
    expect(end).toBe("failed");
    expect(events.at(-1)).toMatchObject({
      kind: "error",
      error: expect.stringMatching(/ended in mid-turn \(.*(SIGKILL|signal 9)/),
    });
    expect(sleep.living()).toBe(false);
    const next = await stage.play("second", { resume: sessionOf(events) });
    expect(next.end).toBe("done");
    expect(stage.bodies.at(-1)).toContain('"text":"first"');
  });
});

describe("stopping", { timeout: 60_000 }, () => {
  const script: Script = () => say("Yes.");

  test("a turn that is cancelled before it began starts nothing", async () => {
    const stage = await stageWith({ script });
    const { end, events } = await stage.play("hello", { signal: AbortSignal.abort() });
    expect([end, events]).toEqual(["cancelled", []]);
    expect(stage.agent.processes()).toBe(0);
  });

  test("a cancel in the first instant leaves a session that still works", async () => {
    const stage = await stageWith({ script });
    for (const ms of [0, 50, 100, 150, 200, 250, 300]) {
      const stop = new AbortController();
      const timer = setTimeout(() => stop.abort(), ms);
      expect(["cancelled", "done"]).toContain((await stage.play(`after ${ms}`, { signal: stop.signal })).end);
      clearTimeout(timer);
    }
    const { end, events } = await stage.play("and now");
    expect(end).toBe("done");
    expect(events).toContainEqual({ kind: "text", text: "Yes." });
  });

  test("close ends every agent and its turn", async () => {
    const sleep = markedSleep();
    const stage = await stageWith({ script: commands(`sleep ${sleep.seconds}`) });
    const playing = stage.play("first");
    await begun(sleep);
    await stage.agent.close();
    expect(sleep.living()).toBe(false);
    expect(agentPids(stage)).toEqual([]);
    expect((await playing).end).toBe("failed");
    expect((await stage.play("second")).end).toBe("failed");
  });

  test("an event that cannot be recorded ends the agent: it does not go on unseen", async () => {
    const stage = await stageWith({ script: () => ({ kind: "blocks", blocks: [bash("echo on >> trace")] }) });
    const failing = stage.play("go", {
      onEvent: (event) => (event.kind === "tool_result" ? Promise.reject(new Error("disk")) : undefined),
    });
    await expect(failing).rejects.toThrow("disk");
    expect(agentPids(stage)).toEqual([]);
    expect(existsSync(stage.sessionsDir)).toBe(true);
  });
});
