import { describe, expect, onTestFinished, test } from "vitest";
import { randomUUID } from "node:crypto";
import { globSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startModel } from "../../demo/model/server.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { agentPids, say, shown, stageWith, type StageOptions } from "./stage.ts";

function echoing(options: Partial<StageOptions> = {}) {
  return stageWith({ script: ({ prompt }) => say(`You said: ${prompt}`), ...options });
}

describe("the agent's memory", { timeout: 60_000 }, () => {
  test("survives the eviction of the least recently used process", async () => {
    const stage = await echoing({ agentsWarmMax: 1 });
    const [one, two] = [randomUUID(), randomUUID()];
    await stage.play("remember the heron", { session: one });
    await stage.play("another session", { session: two });
    await stage.agent.release(one);
    expect(agentPids(stage)).toHaveLength(1);
    const { end, events } = await stage.play("and now?", { session: one, resume: one });
    expect(end).toBe("done");
    expect(events[0]).toEqual({ kind: "session", session_id: one });
    expect(shown(stage)).toContain("remember the heron");
    expect(shown(stage)).not.toContain("another session");
  });

  test("survives the end of an idle process, which comes after its time", async () => {
    const clock = handClock();
    const stage = await echoing({ clock, idleMs: 300_000 });
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    clock.advance(299_000);
    expect(stage.agent.processes()).toBe(1);
    clock.advance(1000);
    await stage.agent.release(session);
    expect(agentPids(stage)).toEqual([]);
    await stage.play("and now?", { session, resume: session });
    expect(shown(stage)).toContain("remember the heron");
  });

  test("survives a restart of the server", async () => {
    const stage = await echoing();
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    await stage.agent.close();
    const { end } = await stage.play("and now?", { agent: stage.another(), session, resume: session });
    expect(end).toBe("done");
    expect(shown(stage)).toContain("remember the heron");
  });

  test("is found again although nobody was told that it exists", async () => {
    const stage = await echoing();
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    await stage.agent.close();
    const { end, events } = await stage.play("and now?", { agent: stage.another(), session });
    expect(end).toBe("done");
    expect(events.filter((event) => event.kind === "error")).toEqual([]);
    expect(shown(stage)).toContain("remember the heron");
  });

  test("is replaced by a digest of the record when it is gone", async () => {
    const stage = await echoing();
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    await stage.agent.close();
    rmSync(join(stage.sessionsDir, session), { recursive: true });
    const agent = stage.another();
    const { end, events } = await stage.play("and now?", {
      agent,
      session,
      resume: session,
      digest: "It was about a heron.",
    });
    expect(end).toBe("done");
    expect(events[0]).toEqual({ kind: "session", session_id: session });
    expect(events).toContainEqual({ kind: "text", text: "You said: and now?" });
    expect(shown(stage)).toContain("It was about a heron.");
    expect(stage.asked.at(-1)?.prompt).toBe("and now?");
    await stage.play("once more", { agent, session, resume: session });
    expect(shown(stage)).toContain("It was about a heron.");
  });

  test("begins anew under another id when what is left of it can neither be resumed nor replaced", async () => {
    const stage = await echoing();
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    await stage.agent.close();
    for (const file of globSync(join(stage.sessionsDir, session, "memory/projects/*/*.jsonl")))
      writeFileSync(file, "");
    const agent = stage.another();
    const { end, events } = await stage.play("and now?", {
      agent,
      session,
      resume: session,
      digest: "A heron.",
    });
    expect(end).toBe("done");
    expect(events.filter((event) => event.kind === "error")).toEqual([]);
    expect(shown(stage)).toContain("A heron.");
  });

  test("stays when the place of the model changes, which starts the process anew", async () => {
    const other = await startModel({ script: () => say("The other model.") });
    onTestFinished(() => other.close());
    let url: string | undefined;
    const stage = await echoing({
      endpoint: () => ({ env: { ANTHROPIC_BASE_URL: url ?? stage.model.url, ANTHROPIC_API_KEY: "dummy" } }),
    });
    const session = randomUUID();
    await stage.play("remember the heron", { session });
    url = other.url;
    const { events } = await stage.play("and now?", { session, resume: session });
    expect(events).toContainEqual({ kind: "text", text: "The other model." });
    expect(stage.agent.processes()).toBe(1);
  });
});
