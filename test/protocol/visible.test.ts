import fc from "fast-check";
import { expect, test } from "vitest";
import { visible, visibleText } from "../../src/protocol/visible.ts";

test.each([
  ["a right-to-left override", "rm \u202e gpj.cod", "rm ⟨U+202E⟩ gpj.cod"],
  ["an isolate", "\u2066x\u2069", "⟨U+2066⟩x⟨U+2069⟩"],
  ["an escape sequence", "\u001b[2Jls", "⟨U+001B⟩[2Jls"],
  ["a carriage return that hides what stands before it", "rm -rf /\rls      ", "rm -rf /⟨U+000D⟩ls      "],
  ["no width", "su\u200bdo", "su⟨U+200B⟩do"],
  ["a space that is none", "ls\u00a0-l", "ls⟨U+00A0⟩-l"],
  ["a filler letter that shows nothing", "a\u3164b", "a⟨U+3164⟩b"],
  ["a line separator", "a\u2028b", "a⟨U+2028⟩b"],
  ["a variation selector", "a\ufe0f", "a⟨U+FE0F⟩"],
  ["a tag", "a\u{e0041}", "a⟨U+E0041⟩"],
  ["half a pair", "a\ud800b", "a⟨U+D800⟩b"],
])("%s is named", (_, text, shown) => {
  expect(visibleText(text)).toBe(shown);
});

test("what everybody can see stays as it is, newline and tab too", () => {
  const text = "grep -E '^\\d+\\\\' /tmp/a |\n\tsort # größer, 日本, ⟨U+202E⟩, 🙂";
  expect(visible(text)).toEqual([{ text, named: false }]);
});

test("nothing is lost: pieces and names give the text back", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const back = visible(text).map((piece) =>
        piece.named ? String.fromCodePoint(Number.parseInt(piece.text.slice(2), 16)) : piece.text,
      );
      expect(back.join("")).toBe(text);
    }),
  );
});
