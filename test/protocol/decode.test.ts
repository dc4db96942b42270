import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeEvent, decodeLastEventId } from "../../src/protocol/decode.ts";
import { eventLog } from "./arbitrary.ts";

test("every event of ours survives the wire", () => {
  fc.assert(
    fc.property(eventLog, (log) => {
      for (const event of log) {
        const wire: unknown = JSON.parse(JSON.stringify(event));
        expect(decodeEvent(wire)).toEqual({ ok: true, value: wire });
      }
    }),
  );
});

test("nothing makes decoding throw, and what is refused says why", () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      const decoded = decodeEvent(value);
      if (!decoded.ok) expect(decoded.problem).toMatch(/\.$/);
    }),
  );
});

test.each([
  ["no object", null, "An event must be a JSON object."],
  ["a negative id", { id: -1, at: "", kind: "cancelled" }, "Event id -1 is not a whole number from 0."],
  ["no time", { id: 1, kind: "cancelled" }, 'Event 1 has no time ("at").'],
  ["an unknown kind", { id: 1, at: "", kind: "toString" }, "Event 1 has the unknown kind toString."],
  ["a missing field", { id: 1, at: "", kind: "text" }, 'Event 1 (text) has no usable "text".'],
])("%s is a problem with a sentence", (_, value, problem) => {
  expect(decodeEvent(value)).toEqual({ ok: false, problem });
});

test.each([
  ["7", 7],
  ["0", 0],
  ["000000000000012", 12],
  ["-1", null],
  ["1e3", null],
  ["", null],
  [" 7", null],
  ["1234567890123456", null],
  [undefined, null],
])("Last-Event-ID %j means %j", (value, id) => {
  expect(decodeLastEventId(value)).toBe(id);
});
