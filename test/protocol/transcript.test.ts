import fc from "fast-check";
import { expect, test } from "vitest";
import type { EventBody, StoredEvent } from "../../src/protocol/events.ts";
import { emptyTranscript, reduce, reduceAll } from "../../src/protocol/transcript.ts";
import { eventLog } from "./arbitrary.ts";

test("a replay of any part of the log changes nothing", () => {
  fc.assert(
    fc.property(eventLog, fc.array(fc.nat()), (log, again) => {
      const whole = reduceAll(emptyTranscript, log);
      const replayed = again
        .map((at) => log[at % Math.max(1, log.length)])
        .filter((event) => event !== undefined);
      expect(reduceAll(whole, replayed)).toBe(whole);
    }),
  );
});

test("folding one by one and folding in batches of any size agree", () => {
  fc.assert(
    fc.property(eventLog, fc.integer({ min: 1, max: 7 }), (log, size) => {
      const single = log.reduce(reduce, emptyTranscript);
      let batched = emptyTranscript;
      for (let at = 0; at < log.length; at += size) batched = reduceAll(batched, log.slice(at, at + size));
      expect(batched).toEqual(single);
    }),
  );
});

test("any tail of a log folds, and every event of it that shows something is shown", () => {
  fc.assert(
    fc.property(eventLog, fc.nat(), (log, cut) => {
      const tail = log.slice(cut % (log.length + 1));
      const { lastId, entries } = reduceAll(emptyTranscript, tail);
      expect(lastId).toBe(tail.at(-1)?.id ?? -1);
      const ids = new Set(tail.map((event) => event.id));
      for (const entry of entries) expect(ids.has(entry.id)).toBe(true);
    }),
  );
});

test("the fold never changes what it was given", () => {
  const first = reduce(emptyTranscript, at(0, { kind: "tool", name: "Bash", input: {}, tool_id: "t" }));
  const frozen = structuredClone(first);
  reduce(first, at(1, { kind: "tool_result", tool_id: "t", is_error: false, text: "ok" }));
  expect(first).toEqual(frozen);
});

test("a tool call gets its result in place, and a result whose call lies before the tail is still shown", () => {
  const call = at(0, { kind: "tool", name: "Bash", input: { command: "ls" }, tool_id: "t" });
  const result = at(1, { kind: "tool_result", tool_id: "t", is_error: false, text: "ok" });
  expect(reduceAll(emptyTranscript, [call, result]).entries).toMatchObject([
    { kind: "tool", name: "Bash", result: { text: "ok" } },
  ]);
  expect(reduceAll(emptyTranscript, [result]).entries).toMatchObject([
    { kind: "tool", result: { text: "ok" } },
  ]);
});

test("a turn is running from its prompt to its end", () => {
  const running = reduce(emptyTranscript, at(0, { kind: "user", text: "hello" }));
  expect(running.running).toEqual({ since: "2026-01-01T00:00:00.000Z" });
  expect(reduce(running, at(1, { kind: "turn_end", reason: "done" })).running).toBeUndefined();
});

test("a turn whose prompt lies before the tail is seen to run, until its end", () => {
  const turn = "22222222-2222-4222-8222-222222222222";
  const tail = reduce(emptyTranscript, { ...at(7, { kind: "text", text: "half way" }), turn });
  expect(tail.running).toEqual({ since: "2026-01-01T00:00:00.000Z", turn });
  expect(reduce(tail, { ...at(8, { kind: "turn_end", reason: "done" }), turn }).running).toBeUndefined();
});

test("an event of an unknown kind takes its id and shows nothing", () => {
  const strange = { kind: "hologram", id: 0, at: "2026-01-01T00:00:00.000Z" } as unknown as StoredEvent;
  expect(reduce(emptyTranscript, strange)).toEqual({ lastId: 0, entries: [] });
});

function at(id: number, body: EventBody): StoredEvent {
  return { ...body, id, at: "2026-01-01T00:00:00.000Z" };
}
