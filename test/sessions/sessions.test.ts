import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ExecStarted } from "../../src/protocol/events.ts";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import { scriptedAgent, stopped } from "../doubles/agent.ts";
import { closedDoor, eventsOf, openSessions, scratchFolder, scratchStore } from "../doubles/sessions.ts";
import { delegate, mayBeFull, newSession, say, turnEnded } from "./stage.ts";

/** Runs until it is stopped. */
const waits = () =>
  scriptedAgent(async (request) => {
    await stopped(request);
    return "cancelled";
  });

const echo = scriptedAgent(async ({ prompt, report }) => {
  await report({ kind: "text", text: `You said: ${prompt}` });
  return "done";
});

test("a turn is recorded from its prompt to its end, in order, with who and which turn", async () => {
  const store = await scratchStore();
  const sessions = await openSessions(store, echo);
  const session = await newSession(sessions);
  expect(await sessions.prompt(session, say("hello"))).toEqual({ kind: "started" });
  await turnEnded(store, session);
  const events = await eventsOf(store, session.id);
  expect(events).toMatchObject([
    { id: 0, kind: "user", text: "hello", by: "ana" },
    { id: 1, kind: "text", text: "You said: hello", by: "agent" },
    { id: 2, kind: "turn_end", reason: "done" },
  ]);
  expect(new Set(events.map((event) => event["turn"])).size).toBe(1);
});

test("the same key starts nothing twice: at once, later, and after a restart", async () => {
  const directory = scratchFolder();
  const first = await scratchStore(directory);
  const sessions = await openSessions(first, echo);
  const session = await newSession(sessions);
  const prompt = { ...say("hello"), key: "11111111-1111-4111-8111-111111111111" };
  const both = await Promise.all([sessions.prompt(session, prompt), sessions.prompt(session, prompt)]);
  expect(both).toEqual([{ kind: "started" }, { kind: "started" }]);
  await turnEnded(first, session);
  expect(await sessions.prompt(session, prompt)).toEqual({ kind: "started" });
  await first.close();

  const second = await scratchStore(directory);
  const reopened = await openSessions(second, echo);
  const again = await reopened.get(session.id);
  expect(await reopened.prompt(again!, prompt)).toEqual({ kind: "started" });
  const prompts = (await eventsOf(second, session.id)).filter(({ kind }) => kind === "user");
  expect(prompts).toHaveLength(1);
});

test.each([
  ["hello\nand more", "hello"],
  [
    "Repair the machine. Find what fills the disk; when it is a runaway log, truncate it.",
    "Repair the machine. Find what fills the disk; when it is a…",
  ],
  ["x".repeat(100), `${"x".repeat(59)}…`],
])("the first prompt names a session, in whole words where there are some: %j", async (prompt, name) => {
  const sessions = await openSessions(await scratchStore(), echo);
  const session = await newSession(sessions);
  await sessions.prompt(session, say(prompt));
  await expect.poll(() => sessions.list()).toMatchObject([{ name }]);
});

test("one turn at a time in a session, and a limit over all", async () => {
  const store = await scratchStore();
  const waiting = waits();
  const sessions = await openSessions(store, waiting, { limits: { turnsAtOnceMax: 1 } });
  const [one, two] = [await newSession(sessions), await newSession(sessions)];
  expect(await sessions.prompt(one, say("a"))).toEqual({ kind: "started" });
  expect(await sessions.prompt(one, say("b"))).toEqual({ kind: "running" });
  expect(await sessions.prompt(two, say("c"))).toEqual({ kind: "too_many", turnsAtOnceMax: 1 });
  expect(await one.cancel("ana")).toBe(true);
  await turnEnded(store, one);
  expect(await sessions.prompt(two, say("c"))).toEqual({ kind: "started" });
  await sessions.close();
});

test("stop ends the turn, says so, and there is nothing to stop twice", async () => {
  const store = await scratchStore();
  const sessions = await openSessions(store, waits());
  const session = await newSession(sessions);
  await sessions.prompt(session, say("wait"));
  expect(await session.cancel("ana")).toBe(true);
  expect(await session.cancel("ana")).toBe(false);
  expect((await eventsOf(store, session.id)).slice(1)).toMatchObject([
    { kind: "cancelled" },
    { kind: "turn_end", reason: "cancelled" },
  ]);
});

test("an agent that breaks is an error and an end, never a turn that hangs", async () => {
  const store = await scratchStore();
  const reports: unknown[] = [];
  const agent = scriptedAgent(async () => {
    throw new Error("out of tune.");
  });
  const sessions = await openSessions(store, agent, { report: (error) => void reports.push(error) });
  const session = await newSession(sessions);
  await sessions.prompt(session, say("play"));
  await turnEnded(store, session);
  expect((await eventsOf(store, session.id)).slice(1)).toMatchObject([
    { kind: "error", error: expect.stringContaining("out of tune. What was recorded before is whole.") },
    { kind: "turn_end", reason: "failed" },
  ]);
  expect(reports).toHaveLength(1);
});

test("an agent that cannot run says why, and the prompt is kept", async () => {
  const store = await scratchStore();
  const agent = { ...echo, problem: () => "No cage can be built here. Install bubblewrap." };
  const sessions = await openSessions(store, agent);
  const session = await newSession(sessions);
  await sessions.prompt(session, say("hello"));
  await turnEnded(store, session);
  expect(await eventsOf(store, session.id)).toMatchObject([
    { kind: "user", text: "hello" },
    { kind: "error", error: "No cage can be built here. Install bubblewrap." },
    { kind: "turn_end", reason: "failed" },
  ]);
});

test("a turn that ran when the server died is interrupted, and says what is unknown", async () => {
  const directory = scratchFolder();
  const store = await scratchStore(directory);
  const started: ExecStarted = {
    kind: "exec",
    phase: "started",
    n: 0,
    target: "devvm",
    account: "root",
    command: "systemctl restart postgresql",
  };
  const abandoned = await openSessions(
    store,
    scriptedAgent(async (request) => {
      await request.report(started as never);
      await stopped(request);
      return "cancelled";
    }),
  );
  const session = await newSession(abandoned);
  const recorded = new Promise<void>((resolve) => {
    store.watch(`session/${session.id}`, ({ lastId }) => lastId >= 1 && resolve());
  });
  await abandoned.prompt(session, say("repair"));
  await recorded;
  await store.close();

  const reopened = await scratchStore(directory);
  const sessions = await openSessions(reopened, echo);
  const again = await sessions.get(session.id);
  expect(again?.running).toBe(false);
  expect((await eventsOf(reopened, session.id)).slice(2)).toMatchObject([
    { kind: "exec", phase: "settled", n: 0, command: started.command, end: { kind: "unknown" } },
    { kind: "interrupted", unknown: ["devvm: systemctl restart postgresql"] },
    { kind: "turn_end", reason: "interrupted" },
  ]);
  expect(sessions.list()).toMatchObject([{ session_id: session.id, name: "repair", running: false }]);
});

test("an orderly end of the server interrupts what runs and takes nothing new", async () => {
  const store = await scratchStore();
  const agent = waits();
  const sessions = await openSessions(store, agent);
  const session = await newSession(sessions);
  await sessions.prompt(session, say("wait"));
  await sessions.close();
  expect((await eventsOf(store, session.id)).at(-1)).toMatchObject({
    kind: "turn_end",
    reason: "interrupted",
  });
  expect(await sessions.prompt(session, say("more"))).toEqual({ kind: "closing" });
  expect(agent.released).toEqual([session.id]);
});

test("below the reserve of free disk no turn is started", async () => {
  const store = await scratchStore();
  const sessions = await openSessions(store, echo, { limits: { reserveBytes: Number.MAX_SAFE_INTEGER } });
  const session = await newSession(sessions);
  expect(await sessions.prompt(session, say("hello"))).toMatchObject({ kind: "no_room" });
  expect(await eventsOf(store, session.id)).toEqual([]);
});

test("a prompt that cannot be written down starts nothing, and the next one can", async () => {
  const store = await scratchStore();
  const disk = mayBeFull(store, { full: true });
  const sessions = await openSessions(disk.store, echo, { limits: { turnsAtOnceMax: 1 } });
  const session = await newSession(sessions);
  expect(await sessions.prompt(session, say("hello"))).toEqual({
    kind: "unrecorded",
    reason: "The disk is full.",
  });
  disk.full = false;
  expect(await sessions.prompt(session, say("hello"))).toEqual({ kind: "started" });
  await turnEnded(store, session);
});

test("at the end of a turn its door ends what still runs, before the turn is over", async () => {
  const store = await scratchStore();
  const order: string[] = [];
  const sessions = await openSessions(store, echo, {
    openDoor: async () => ({ ...closedDoor, endTurn: async () => void order.push("ended") }),
  });
  const session = await newSession(sessions);
  await sessions.prompt(session, say("hello"));
  await turnEnded(store, session);
  expect(order).toEqual(["ended"]);
});

test("an unknown id opens nothing", async () => {
  const sessions = await openSessions(await scratchStore(), echo);
  expect(await sessions.get("00000000-0000-4000-8000-000000000000")).toBeUndefined();
});

test("a damaged record costs itself and nothing else", async () => {
  const directory = scratchFolder();
  const store = await scratchStore(directory);
  const sessions = await openSessions(store, echo);
  const session = await newSession(sessions);
  for (let round = 0; round < 20; round++) {
    await sessions.prompt(session, {
      ...say(`round ${round}`),
      key: `11111111-1111-4111-8111-1111111111${10 + round}`,
    });
    await turnEnded(store, session);
  }
  await store.close();
  const file = join(directory, "streams", "session", `${session.id}.sse`);
  const bytes = readFileSync(file);
  const at = bytes.indexOf("You said: round 7");
  bytes[at] = bytes[at]! ^ 1;
  writeFileSync(file, bytes);

  const told: unknown[] = [];
  const reopened = await openSessions(await scratchStore(directory), echo, {
    report: (error) => void told.push(error),
  });
  const again = await reopened.get(session.id);
  const late = { ...say("again"), key: "11111111-1111-4111-8111-111111111129" };
  expect(await reopened.prompt(again!, late)).toEqual({ kind: "started" });
  expect(told).toMatchObject([{ message: expect.stringContaining("1 events of session") }]);
});

test("a crashed turn on a disk that takes nothing can still be read, and is settled when the disk takes it", async () => {
  const directory = scratchFolder();
  const store = await scratchStore(directory);
  const id = await (await openSessions(store, echo)).create("ana");
  await store.append(`session/${id}`, [{ kind: "user", text: "hello", at: "" }]);
  let full = true;
  const failing: Store = {
    ...delegate(store),
    append: async (...args) => {
      if (full) throw new StoreError("unwritable", "The disk is full.");
      return store.append(...args);
    },
  };
  const sessions = await openSessions(failing, echo, { report: () => {} });
  expect((await sessions.get(id))?.running).toBe(false);
  full = false;
  await sessions.get(id);
  expect((await eventsOf(store, id)).at(-1)).toMatchObject({ kind: "turn_end", reason: "interrupted" });
});

test("stop in the moment of sending stops the turn that is about to begin", async () => {
  const store = await scratchStore();
  const agent = waits();
  const sessions = await openSessions(store, agent);
  const session = await newSession(sessions);
  const sent = sessions.prompt(session, say("wait"));
  expect(await session.cancel("ana")).toBe(true);
  expect(await sent).toEqual({ kind: "started" });
  expect((await eventsOf(store, session.id)).at(-1)).toMatchObject({ kind: "turn_end", reason: "cancelled" });
});

test("a session that somebody holds is never written by two, however many others are opened", async () => {
  const store = await scratchStore();
  const sessions = await openSessions(store, echo);
  const held = await newSession(sessions);
  for (let other = 0; other < 230; other++) await newSession(sessions);
  expect(await sessions.get(held.id)).toBe(held);
});

test("a catalogue that cannot be read costs the list, not the server", async () => {
  const store = await scratchStore();
  const told: unknown[] = [];
  const blind: Store = {
    ...delegate(store),
    read: async () => {
      throw new StoreError("unwritable", "The file may not be read.");
    },
  };
  const sessions = await openSessions(blind, echo, { report: (error) => void told.push(error) });
  expect(sessions.list()).toEqual([]);
  expect(told).toHaveLength(1);
});

test("a secret in a prompt, a command or an output is not written down", async () => {
  const store = await scratchStore();
  const secret = "sk-ant-api03-" + "a1B2".repeat(20);
  const leaky = scriptedAgent(async ({ report }) => {
    await report({
      kind: "tool",
      name: "Bash",
      input: { command: `curl -H 'x-api-key: ${secret}'` },
      tool_id: "t",
    });
    await report({ kind: "tool_result", tool_id: "t", is_error: false, text: `key is ${secret}` });
    return "done";
  });
  const sessions = await openSessions(store, leaky);
  const session = await newSession(sessions);
  await sessions.prompt(session, say(`my key is ${secret}`));
  await turnEnded(store, session);
  expect(JSON.stringify(await eventsOf(store, session.id))).not.toContain("a1B2");
});
