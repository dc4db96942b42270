import { expect, test } from "vitest";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import { handClock } from "../agent/hand-clock.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { closedDoor, eventsOf, openSessions, scratchStore } from "../doubles/sessions.ts";
import { delegate, newSession, say, turnEnded } from "./stage.ts";

const quiet = scriptedAgent(async () => "done");
const minutes = 60_000;

test("autonomous is granted for half an hour, and then what was before it holds again", async () => {
  const clock = handClock();
  const store = await scratchStore();
  const session = await newSession(await openSessions(store, quiet, { clock }));
  expect(session.mode.now()).toEqual({ mode: "supervised" });
  await session.setMode("observe", "ana");
  const seen: string[] = [];
  session.mode.watch(() => void seen.push(session.mode.now().mode));
  expect(await session.setMode("autonomous", "ana")).toEqual({
    kind: "set",
    mode: { mode: "autonomous", until: "1970-01-01T00:30:00.000Z", back_to: "observe" },
  });
  clock.advance(30 * minutes - 1);
  expect(session.mode.now().mode).toBe("autonomous");
  clock.advance(1);
  expect(session.mode.now()).toEqual({ mode: "observe" });
  expect(seen).toEqual(["autonomous", "observe"]);
  expect(await eventsOf(store, session.id)).toMatchObject([
    { kind: "mode", mode: "observe", by: "ana" },
    { kind: "mode", mode: "autonomous", back_to: "observe", by: "ana" },
  ]);
});

test("a second tap prolongs the grant, and it still ends in what was before the first", async () => {
  const clock = handClock();
  const session = await newSession(await openSessions(await scratchStore(), quiet, { clock }));
  await session.setMode("autonomous", "ana");
  clock.advance(20 * minutes);
  await session.setMode("autonomous", "ana");
  clock.advance(29 * minutes);
  expect(session.mode.now()).toMatchObject({ mode: "autonomous", back_to: "supervised" });
  clock.advance(1 * minutes);
  expect(session.mode.now()).toEqual({ mode: "supervised" });
});

test("a grant can be taken back before its time", async () => {
  const clock = handClock();
  const session = await newSession(await openSessions(await scratchStore(), quiet, { clock }));
  await session.setMode("autonomous", "ana");
  await session.setMode("supervised", "ben");
  expect(session.mode.now()).toEqual({ mode: "supervised" });
  clock.advance(30 * minutes);
  expect(session.mode.now()).toEqual({ mode: "supervised" });
});

test("where the configuration gives autonomous it has no end, until the configuration takes it back", async () => {
  const store = await scratchStore();
  const clock = handClock();
  const session = await newSession(await openSessions(store, quiet, { clock, mode: "autonomous" }));
  await session.setMode("supervised", "ana");
  await session.setMode("autonomous", "ana");
  clock.advance(60 * minutes);
  expect(session.mode.now()).toEqual({ mode: "autonomous" });
  const stricter = await openSessions(store, quiet, { clock, mode: "observe" });
  expect((await stricter.get(session.id))?.mode.now()).toEqual({ mode: "observe" });
});

test("a restart keeps the mode and a grant, but not beyond its time", async () => {
  const store = await scratchStore();
  const clock = handClock();
  const session = await newSession(await openSessions(store, quiet, { clock }));
  await session.setMode("observe", "ana");
  await session.setMode("autonomous", "ana");
  clock.advance(10 * minutes);
  const again = await (await openSessions(store, quiet, { clock })).get(session.id);
  expect(again?.mode.now()).toEqual(session.mode.now());
  clock.advance(20 * minutes);
  expect(again?.mode.now()).toEqual({ mode: "observe" });
  const late = await (await openSessions(store, quiet, { clock })).get(session.id);
  expect(late?.mode.now()).toEqual({ mode: "observe" });
});

test("asking for what holds already records nothing", async () => {
  const store = await scratchStore();
  const session = await newSession(await openSessions(store, quiet));
  expect(await session.setMode("supervised", "ana")).toEqual({ kind: "set", mode: { mode: "supervised" } });
  expect(await eventsOf(store, session.id)).toEqual([]);
});

test("on a disk that takes nothing a stricter mode holds at once, and a wider one does not", async () => {
  const store = await scratchStore();
  const failing: Store = {
    ...delegate(store),
    append: async (stream, bodies, options) => {
      if (stream.startsWith("session/")) throw new StoreError("unwritable", "The disk is full.");
      return store.append(stream, bodies, options);
    },
  };
  const session = await newSession(await openSessions(failing, quiet));
  expect(await session.setMode("observe", "ana")).toEqual({
    kind: "unrecorded",
    holds: true,
    reason: "The disk is full.",
  });
  expect(session.mode.now()).toEqual({ mode: "observe" });
  expect(await session.setMode("autonomous", "ana")).toMatchObject({ kind: "unrecorded", holds: false });
  expect(session.mode.now()).toEqual({ mode: "observe" });
});

test("the door is told of another mode, and asks for it at each request", async () => {
  const clock = handClock();
  const store = await scratchStore();
  const told: string[] = [];
  const sessions = await openSessions(store, quiet, {
    clock,
    openDoor: async ({ mode }) => ({ ...closedDoor, modeChanged: () => void told.push(mode()) }),
  });
  const session = await newSession(sessions);
  await sessions.prompt(session, say("hello"));
  await turnEnded(store, session);
  await session.setMode("autonomous", "ana");
  clock.advance(30 * minutes);
  await sessions.close();
  expect(told).toEqual(["autonomous", "supervised"]);
});
