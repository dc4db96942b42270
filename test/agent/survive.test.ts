import { describe, expect, test } from "vitest";
import { randomUUID } from "node:crypto";
import { execFileSync } from "node:child_process";
import { globSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { AgentEvent, AgentNews } from "../../src/server/agent/agent.ts";

import type { SessionId, TurnId } from "../../src/protocol/ids.ts";
import type { Answer, Script } from "../../demo/model/script.ts";

import {
  agentPids,
  bash,
  errors,
  isolations,
  markedSleep,
  say,
  shown,
  stageWith,
  texts,
  type Played,
  type Stage,
} from "./stage.ts";

/** Resolves when it holds; what it waits for has no event of its own. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(5);
}

/** Where a Turn can be when something happens to it; `begun` resolves when the first one is there. */
interface Phase {
  readonly name: string;
  readonly script: (sleep: string) => Script;
  readonly begun: (at: {
    readonly stage: Stage;
    readonly sleeps: () => boolean;
    readonly events: readonly AgentEvent[];
    readonly news: readonly AgentNews[];
  }) => boolean;
}

const first =
  (answer: Answer): Script =>
  ({ prompt, step }) =>
    prompt !== "first" || step > 0 ? say("All is well again.") : answer;
const command = (text: string): Answer => ({ kind: "blocks", blocks: [bash(text)] });

const phases: readonly Phase[] = [
  {
    name: "starting",
    script: () => first(say("Quick.")),
    begun: ({ stage }) => agentPids(stage).length > 0,
  },
  {
    name: "thinking",
    script: () => first({ kind: "hang" }),
    begun: ({ stage }) => stage.model.requests() > 0,
  },
  {
    name: "speaking",
    script: () => first({ kind: "hang", blocks: [{ type: "text", text: "Half a wo" }] }),
    begun: ({ news }) => news.some((one) => one.name === "delta"),
  },
  {
    name: "running a tool with a detached grandchild",
    script: (sleep) => first(command(`setsid nohup sleep ${sleep} >/dev/null 2>&1 & exec sleep 1000`)),
    begun: ({ sleeps }) => sleeps(),
  },
  {
    name: "waiting at the broker's door",
    script: (sleep) => first(command(`ssh devvm ${sleep}`)),
    begun: ({ sleeps }) => sleeps(),
  },
  {
    name: "finishing",
    script: () => first(say("Done so far.")),
    begun: ({ events }) => events.some((event) => event.kind === "text"),
  },
];

/** Plays the first Turn, does `strike` to it in that phase, and hands on how it ended. */
async function struck(
  stage: Stage,
  phase: Phase,
  sleep: ReturnType<typeof markedSleep>,
  how: { readonly session: SessionId; readonly turn: TurnId; readonly signal?: AbortSignal },
  strike: () => void,
): Promise<Played> {
  const events: AgentEvent[] = [];
  const news: AgentNews[] = [];
  let over = false;
  const playing = stage
    .play("first", {
      ...how,
      onEvent: (event) => void events.push(event),
      onNews: (one) => void news.push(one),
    })
    .finally(() => (over = true));
  await until(() => over || phase.begun({ stage, sleeps: () => sleep.living(), events, news }));
  strike();
  return playing;
}

/** An `ssh` that waits as long as its second argument says, as one does while a person has to decide. */
function slowBroker(stage: Stage): void {
  writeFileSync(join(stage.door.binDir, "ssh"), '#!/bin/sh\nexec sleep "$2"\n', { mode: 0o755 });
}

/** What an agent leaves is another's to end in each isolation; where it has left nothing all of them are alike. */
const leaving = phases.filter(({ name }) => /^(running|waiting)/.test(name));
const trials = isolations.map((isolation, at) => ({ isolation, in: at === 0 ? phases : leaving }));

describe.each(trials)("with isolation $isolation", { timeout: 60_000 }, ({ isolation, in: its }) => {
  test.each(its)("kill -9 of the agent while $name: the session goes on, and knows", async (phase) => {
    const sleep = markedSleep();
    const stage = await stageWith({ isolation, script: phase.script(sleep.seconds) });
    slowBroker(stage);
    const [session, turn] = [randomUUID(), randomUUID()];
    const played = await struck(stage, phase, sleep, { session, turn }, () => {
      for (const pid of agentPids(stage)) process.kill(pid, "SIGKILL");
    });
    // While it finishes the end may come first.
    expect(phase.name === "finishing" ? ["failed", "done"] : ["failed"]).toContain(played.end);
    if (played.end === "failed")
      expect(errors(played)).toEqual([
        expect.stringMatching(/ended in mid-turn .*may still be running there: look before you repeat/),
      ]);
    expect(sleep.living()).toBe(false);
    // Killed after its Turn had ended, it is gone a moment before that is seen.
    await until(() => agentPids(stage).length === 0 && stage.agent.processes() === 0);
    const agentSession = played.events.find((event) => event.kind === "session")?.session_id;
    const next = await stage.play("second", {
      session,
      ...(agentSession !== undefined && { resume: agentSession }),
      after: { turn, end: played.end },
      digest: "Operator: first, by the record",
    });
    expect(next.end).toBe("done");
    expect(texts(next)).toEqual(["All is well again."]);
    if (played.end === "failed") expect(shown(stage)).toContain("first, by the record");
  });

  test.each(its)("Stop while $name leaves nothing on this machine", async (phase) => {
    const sleep = markedSleep();
    const stage = await stageWith({ isolation, script: phase.script(sleep.seconds) });
    slowBroker(stage);
    const stop = new AbortController();
    const how = { session: randomUUID(), turn: randomUUID(), signal: stop.signal };
    const played = await struck(stage, phase, sleep, how, () => stop.abort());
    expect(phase.name === "finishing" ? ["cancelled", "done"] : ["cancelled"]).toContain(played.end);
    expect(sleep.living()).toBe(false);
    if (played.end === "cancelled") expect(agentPids(stage)).toEqual([]);
    expect(errors(played)).toEqual([]);
    expect((await stage.play("second", { session: how.session })).end).toBe("done");
  });
});

describe("a memory that lacks the last turn", { timeout: 60_000 }, () => {
  const script: Script = ({ prompt }) => say(`You said: ${prompt}`);
  const digest = "By the record: a heron.";

  test("is told of it by the record; one that holds it is not", async () => {
    const stage = await stageWith({ script });
    const [session, turn] = [randomUUID(), randomUUID()];
    await stage.play("remember", { session, turn });
    await stage.agent.release(session);
    await stage.play("and now?", { session, resume: session, after: { turn, end: "done" }, digest });
    expect(shown(stage)).toContain('"text":"remember"');
    expect(shown(stage)).not.toContain("heron");
    await stage.agent.release(session);
    await stage.play("and now?", {
      session,
      resume: session,
      after: { turn: randomUUID(), end: "done" },
      digest,
    });
    expect(shown(stage)).toContain("may lack the end of it");
    expect(shown(stage)).toContain("heron");
    expect(stage.asked.at(-1)?.prompt).toBe("and now?");
  });

  test("of a process that is still there is no different: a runbook may have run in between", async () => {
    const stage = await stageWith({ script });
    const [session, turn] = [randomUUID(), randomUUID()];
    await stage.play("remember", { session, turn });
    const second = randomUUID();
    await stage.play("again", { session, turn: second, after: { turn, end: "failed" }, digest });
    expect(shown(stage)).not.toContain("heron");
    const runbook = { turn: randomUUID(), end: "done" } as const;
    await stage.play("and now?", { session, after: runbook, digest });
    expect(shown(stage)).toContain("heron");
  });

  test("is not waited for when it is no file", async () => {
    const stage = await stageWith({ script });
    const [session, turn] = [randomUUID(), randomUUID()];
    await stage.play("remember", { session, turn });
    await stage.agent.close();
    for (const file of globSync(join(stage.sessionsDir, session, "memory/projects/*/*.jsonl"))) {
      rmSync(file);
      execFileSync("mkfifo", [file]);
    }
    const agent = stage.another({ silenceMs: 4_000 });
    const next = await stage.play("and now?", { agent, session, after: { turn, end: "done" }, digest });
    expect(["done", "failed"]).toContain(next.end);
    if (next.end === "failed") expect(errors(next)).not.toEqual([]);
  });
});
