import { expect, test } from "vitest";
import type { FixedAsk } from "../../src/server/broker/fixed.ts";
import type { Runbooks } from "../../src/server/runbooks/runbooks.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { closedDoor, eventsOf, HandFreeze, openSessions, scratchStore } from "../doubles/sessions.ts";
import { newSession, say, turnEnded } from "./stage.ts";

/** There is no model. */
const gone = { ...scriptedAgent(async () => "failed"), problem: () => "The model does not answer." };

const brief = { name: "triage", title: "Triage", about: "What is wrong?" };
const found = {
  name: "triage",
  title: "Triage",
  target: "devvm",
  findings: [],
  unanswered: [],
  summary: "Nothing looks wrong.",
  next: "Look again later.",
};

const asksOnce: Runbooks = {
  list: () => [brief],
  run: async (_, { target, ask }) => {
    await ask({ target, on: "guest", command: "uptime", timeoutMs: 1_000 });
    return found;
  },
};

const key = "11111111-1111-4111-8111-111111111111";
const wish = { name: "triage", target: undefined, key, by: "ana" };

/** A door that writes down what is done with it. */
function watchedDoor(asked: FixedAsk[] = [], order: string[] = []) {
  return async () => ({
    ...closedDoor,
    beginTurn: () => void order.push("begins"),
    endTurn: async () => void order.push("ends"),
    runFixed: async (ask: FixedAsk) => {
      asked.push(ask);
      order.push("asks");
      return { n: 0, end: { kind: "exited", code: 0 } as const, output: "up 3 days" };
    },
  });
}

test("a runbook is a turn without a model: the operator asks, and the findings are on record", async () => {
  const store = await scratchStore();
  const asked: FixedAsk[] = [];
  const sessions = await openSessions(store, gone, { runbooks: asksOnce, openDoor: watchedDoor(asked) });
  const session = await newSession(sessions);
  expect(await sessions.runbook(session, wish)).toEqual({ kind: "started" });
  await turnEnded(store, session);
  const events = await eventsOf(store, session.id);
  expect(events).toMatchObject([
    { kind: "runbook", phase: "started", name: "triage", title: "Triage", target: "devvm", key, by: "ana" },
    { kind: "runbook", phase: "settled", summary: "Nothing looks wrong.", by: "ana" },
    { kind: "turn_end", reason: "done" },
  ]);
  expect(new Set(events.map((event) => event["turn"])).size).toBe(1);
  expect(asked).toMatchObject([{ target: "devvm", command: "uptime", by: "ana" }]);
  expect(sessions.list()).toMatchObject([{ name: "Triage" }]);
});

test("nobody is heard at the door while a runbook runs", async () => {
  const store = await scratchStore();
  const order: string[] = [];
  const sessions = await openSessions(store, gone, { runbooks: asksOnce, openDoor: watchedDoor([], order) });
  const session = await newSession(sessions);
  await sessions.runbook(session, wish);
  await turnEnded(store, session);
  expect(order).toEqual(["asks", "ends"]);
});

test("the same key runs it once, whether or not the answer was lost", async () => {
  const store = await scratchStore();
  const asked: FixedAsk[] = [];
  const sessions = await openSessions(store, gone, { runbooks: asksOnce, openDoor: watchedDoor(asked) });
  const session = await newSession(sessions);
  expect(await Promise.all([sessions.runbook(session, wish), sessions.runbook(session, wish)])).toEqual([
    { kind: "started" },
    { kind: "started" },
  ]);
  await turnEnded(store, session);
  const again = await (await openSessions(store, gone, { runbooks: asksOnce })).get(session.id);
  expect(await sessions.runbook(again!, wish)).toEqual({ kind: "started" });
  expect(asked).toHaveLength(1);
});

test("what is not there is told with what is, and nothing is started", async () => {
  const store = await scratchStore();
  const sessions = await openSessions(store, gone, { runbooks: asksOnce });
  const session = await newSession(sessions);
  expect(await sessions.runbook(session, { ...wish, name: "tea" })).toEqual({
    kind: "no_runbook",
    there: ["triage"],
  });
  expect(await sessions.runbook(session, { ...wish, target: "elsewhere" })).toEqual({
    kind: "no_target",
    there: ["devvm"],
  });
  expect(await eventsOf(store, session.id)).toEqual([]);
});

test("stop ends a runbook, and a freeze lets none begin", async () => {
  const store = await scratchStore();
  const freeze = new HandFreeze();
  const waits: Runbooks = {
    list: () => [brief],
    run: (_, { signal }) =>
      new Promise((_resolve, reject) => {
        if (signal.aborted) reject(signal.reason as Error);
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      }),
  };
  const sessions = await openSessions(store, gone, { runbooks: waits, freeze });
  const session = await newSession(sessions);
  await sessions.runbook(session, wish);
  expect(await sessions.prompt(session, say("hello"))).toEqual({ kind: "running" });
  expect(await session.cancel("ben")).toBe(true);
  await turnEnded(store, session);
  expect((await eventsOf(store, session.id)).slice(1)).toMatchObject([
    { kind: "cancelled", by: "ben" },
    { kind: "turn_end", reason: "cancelled" },
  ]);
  await freeze.set(true, "ben");
  const another = { ...wish, key: "22222222-2222-4222-8222-222222222222" };
  expect(await sessions.runbook(session, another)).toMatchObject({ kind: "frozen", by: "ben" });
});

test("a runbook that breaks is an error and an end", async () => {
  const store = await scratchStore();
  const told: unknown[] = [];
  const breaks: Runbooks = {
    list: () => [brief],
    run: async () => {
      throw new Error("out of tune.");
    },
  };
  const sessions = await openSessions(store, gone, {
    runbooks: breaks,
    report: (error) => void told.push(error),
  });
  const session = await newSession(sessions);
  await sessions.runbook(session, wish);
  await turnEnded(store, session);
  expect((await eventsOf(store, session.id)).slice(1)).toMatchObject([
    { kind: "error", error: expect.stringContaining("out of tune.") },
    { kind: "turn_end", reason: "failed" },
  ]);
  expect(told).toHaveLength(1);
});
