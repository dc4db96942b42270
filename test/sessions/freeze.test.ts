import { expect, test } from "vitest";
import { scriptedAgent, stopped } from "../doubles/agent.ts";
import { eventsOf, HandFreeze, openSessions, scratchStore } from "../doubles/sessions.ts";
import { newSession, say, turnEnded } from "./stage.ts";

const waiting = scriptedAgent(async (request) => {
  await stopped(request);
  return "cancelled";
});

test("a freeze stops every turn, says by whom, and lets none begin until it is lifted", async () => {
  const store = await scratchStore();
  const freeze = new HandFreeze();
  const sessions = await openSessions(store, waiting, { freeze });
  const [one, two] = [await newSession(sessions), await newSession(sessions)];
  await sessions.prompt(one, say("wait"));
  await sessions.prompt(two, say("wait"));
  await freeze.set(true, "ben");
  await Promise.all([turnEnded(store, one), turnEnded(store, two)]);
  for (const { id } of [one, two])
    expect((await eventsOf(store, id)).slice(1)).toMatchObject([
      { kind: "cancelled", by: "ben", reason: expect.stringContaining("ben froze all agents") },
      { kind: "turn_end", reason: "cancelled" },
    ]);
  expect(await sessions.prompt(one, say("more"))).toMatchObject({ kind: "frozen", by: "ben" });
  expect(await store.head(`session/${one.id}`)).toBe(2);
  await freeze.set(false, "ana");
  expect(await sessions.prompt(one, say("more"))).toEqual({ kind: "started" });
  await sessions.close();
});

test("a prompt on its way to disk when everything is frozen is recorded, and its turn is stopped at once", async () => {
  const store = await scratchStore();
  const freeze = new HandFreeze();
  const sessions = await openSessions(store, waiting, { freeze });
  const session = await newSession(sessions);
  const sent = sessions.prompt(session, say("wait"));
  await freeze.set(true, "ben");
  expect(await sent).toEqual({ kind: "started" });
  await turnEnded(store, session);
  expect(await eventsOf(store, session.id)).toMatchObject([
    { kind: "user" },
    { kind: "cancelled", by: "ben" },
    { kind: "turn_end", reason: "cancelled" },
  ]);
});
