import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  encodeBody,
  encodeFrame,
  frameAt,
  frameStarts,
  parseFrames,
} from "../../src/server/store/files/frame.ts";
import type { Body } from "../../src/server/store/store.ts";

/** Any text, lone surrogates and control characters among it, and the separators that some readers take for newlines. */
const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: "grapheme" }),
  fc
    .array(
      fc.constantFrom(
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\u2028",
        "\u2029",
        "\u0085",
        "\0",
        "\ud800",
        "\udfff",
        ": ",
        "\nid: 7\n",
        "data: ",
      ),
    )
    .map((parts) => parts.join("")),
);
const json = fc.jsonValue({ stringUnit: "binary" });
const body: fc.Arbitrary<Body> = fc
  .tuple(
    text,
    fc.dictionary(
      text.filter((key) => key !== "id" && key !== "kind"),
      fc.oneof(text, json),
    ),
  )
  .map(([kind, fields]) => ({ ...fields, kind }));
const id = fc.nat({ max: Number.MAX_SAFE_INTEGER });

test("any record comes back from its frame as JSON gives it back", () => {
  fc.assert(
    fc.property(body, id, (record, at) => {
      const frame = encodeFrame(at, encodeBody(record));
      expect(frameAt(frame, 0, frame.length)).toEqual({ kind: "whole", id: at, end: frame.length });
      expect(parseFrames(frame)).toEqual([JSON.parse(JSON.stringify({ ...record, id: at }))]);
    }),
    { numRuns: 2000 },
  );
});

test("a frame is three lines and a blank one, whatever the record holds", () => {
  fc.assert(
    fc.property(body, id, (record, at) => {
      const payload = encodeBody(record);
      const frame = encodeFrame(at, payload);
      const lines = frame.toString("latin1").split(/\r\n|\r|\n/);
      expect(lines).toHaveLength(5);
      expect(lines[0]).toMatch(/^: [0-9a-f]{8}$/);
      expect(lines[1]).toBe(`id: ${at}`);
      expect(lines[2]!.startsWith(`data: {"kind":`)).toBe(true);
      expect(lines.slice(3)).toEqual(["", ""]);
      expect(frame.length).toBeLessThanOrEqual(payload.bytesMax);
    }),
  );
});

test("frames in a row are found where they begin", () => {
  fc.assert(
    fc.property(fc.array(body, { minLength: 1, maxLength: 8 }), (records) => {
      const frames = records.map((record, at) => encodeFrame(at, encodeBody(record)));
      const starts = frameStarts(Buffer.concat(frames));
      expect(starts).toEqual(frames.map((_, at) => Buffer.concat(frames.slice(0, at)).length));
      expect(parseFrames(Buffer.concat(frames)).map((record) => record.id)).toEqual(
        records.map((_, at) => at),
      );
      expect(parseFrames(Buffer.concat(frames), 2)).toHaveLength(Math.min(2, records.length));
    }),
  );
});

test("a frame that is cut anywhere is not whole, and one with a flipped bit is none", () => {
  fc.assert(
    fc.property(body, fc.nat(), fc.nat({ max: 7 }), (record, where, bit) => {
      const frame = encodeFrame(42, encodeBody(record));
      const at = where % frame.length;
      expect(frameAt(frame, 0, at).kind).not.toBe("whole");
      frame[at]! ^= 1 << bit;
      expect(frameAt(frame, 0, frame.length).kind).not.toBe("whole");
    }),
    { numRuns: 2000 },
  );
});
