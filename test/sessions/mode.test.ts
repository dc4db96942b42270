import { expect, test } from "vitest";
import { admitMs, neededMs, sessionsOpenMax } from "../../src/server/sessions/limits.ts";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { closedDoor, eventsOf, openSessions, scratchStore } from "../doubles/sessions.ts";
import { delegate, mayBeFull, newSession, recorded, say, turnEnded } from "./stage.ts";

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

test.each([
  ["an hour", 60, 0],
  ["five minutes", 5, 20],
])("a clock that is set back by %s makes no grant longer, and brings none back", async (_, back, lasts) => {
  const hand = handClock();
  let setBack = 0;
  const clock = { ...hand, now: () => new Date(hand.now().getTime() + 1e12 - setBack * minutes) };
  const session = await newSession(await openSessions(await scratchStore(), quiet, { clock }));
  await session.setMode("autonomous", "ana");
  hand.advance(10 * minutes);
  setBack = back;
  let lasted = 0;
  for (let minute = 1; minute <= 100; minute++) {
    if (session.mode.now().mode === "autonomous") lasted = minute;
    hand.advance(1 * minutes);
  }
  expect(lasted).toBe(lasts);
});

/** A disk that hangs from `hang` to `comesBack`, and then takes what was asked of it in its order. */
function hangingDisk(store: Store) {
  let wait = Promise.resolve();
  let comesBack = () => {};
  const hanging: Store = {
    ...delegate(store),
    append: (stream, bodies, options) => {
      const taken = wait.then(() => store.append(stream, bodies, options));
      taken.catch(() => {});
      return taken;
    },
  };
  return {
    store: hanging,
    hang: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      wait = promise;
      comesBack = resolve;
    },
    comesBack: () => comesBack(),
  };
}

/** A Session whose mode changes at the test's will and whose disk hangs. */
async function onHangingDisk() {
  const clock = handClock();
  const disk = hangingDisk(await scratchStore());
  const sessions = await openSessions(disk.store, quiet, { clock });
  const session = await newSession(sessions);
  const seen: string[] = [];
  session.mode.watch(() => void seen.push(session.mode.now().mode));
  disk.hang();
  return { clock, disk, session, seen };
}

test("a wider mode that was refused does not hold when the disk takes it late, and the record says what does", async () => {
  const { clock, disk, session, seen } = await onHangingDisk();
  const asked = session.setMode("autonomous", "ana");
  clock.advance(admitMs);
  expect(await asked).toMatchObject({ kind: "unrecorded", holds: false });
  const back = session.setMode("supervised", "ana");
  disk.comesBack();
  expect(await back).toEqual({ kind: "set", mode: { mode: "supervised" } });
  await recorded(disk.store, session, ([first]) => first?.["mode"] === "autonomous");
  expect(seen).not.toContain("autonomous");
  expect(session.mode.now()).toEqual({ mode: "supervised" });
  const again = await (await openSessions(disk.store, quiet, { clock })).get(session.id);
  expect(again?.mode.now()).toEqual({ mode: "supervised" });
});

test("what was refused is taken back in the record without a further wish", async () => {
  const { clock, disk, session, seen } = await onHangingDisk();
  const asked = session.setMode("autonomous", "ana");
  clock.advance(admitMs);
  await asked;
  disk.comesBack();
  await recorded(disk.store, session, (events) => events.length === 2);
  expect(await eventsOf(disk.store, session.id)).toMatchObject([
    { kind: "mode", mode: "autonomous", by: "ana" },
    { kind: "mode", mode: "supervised", by: "breakglass" },
  ]);
  expect([session.mode.now(), seen]).toEqual([{ mode: "supervised" }, []]);
});

test("what holds in memory alone is not answered as set, and not overwritten by what comes late", async () => {
  const { clock, disk, session, seen } = await onHangingDisk();
  const wide = session.setMode("autonomous", "ana");
  const strict = session.setMode("observe", "ben");
  expect(session.mode.now()).toEqual({ mode: "observe" });
  clock.advance(admitMs);
  expect(await wide).toEqual({ kind: "overtaken", mode: { mode: "observe" } });
  expect(await strict).toMatchObject({ kind: "unrecorded", holds: true });
  const again = session.setMode("observe", "ben");
  clock.advance(admitMs);
  expect(await again).toMatchObject({ kind: "unrecorded", holds: true });
  disk.comesBack();
  await recorded(disk.store, session, (events) => events.length === 3);
  expect([session.mode.now(), new Set(seen)]).toEqual([{ mode: "observe" }, new Set(["observe"])]);
  expect((await eventsOf(disk.store, session.id)).at(-1)).toMatchObject({ mode: "observe" });
});

test("of two wishes on a slow disk the newest holds, and the other is told so", async () => {
  const { disk, session, seen } = await onHangingDisk();
  const wide = session.setMode("autonomous", "ana");
  const back = session.setMode("supervised", "ben");
  disk.comesBack();
  expect(await wide).toEqual({ kind: "overtaken", mode: { mode: "supervised" } });
  expect(await back).toEqual({ kind: "set", mode: { mode: "supervised" } });
  expect(seen).not.toContain("autonomous");
});

test("a stricter mode that the disk refused comes to the record once the session is asked for again", async () => {
  const store = await scratchStore();
  const disk = mayBeFull(store, { full: true });
  const sessions = await openSessions(disk.store, quiet);
  const session = await newSession(sessions);
  await session.setMode("observe", "ana");
  disk.full = false;
  await sessions.get(session.id);
  await recorded(store, session, (events) => events.length === 1);
  expect(await eventsOf(store, session.id)).toMatchObject([{ mode: "observe", by: "breakglass" }]);
});

test("a session whose stricter mode could not be recorded is not let go", async () => {
  const clock = handClock();
  const store = await scratchStore();
  const disk = mayBeFull(store, { full: false });
  const sessions = await openSessions(disk.store, quiet, { clock });
  const session = await newSession(sessions);
  disk.full = true;
  await session.setMode("observe", "ana");
  clock.advance(neededMs + 1);
  const others = await Promise.all(Array.from({ length: sessionsOpenMax + 1 }, () => sessions.create("ana")));
  for (const id of others) await sessions.get(id);
  expect((await sessions.get(session.id))?.mode.now()).toEqual({ mode: "observe" });
});
