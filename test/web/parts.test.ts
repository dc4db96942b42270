import { describe, expect, test } from "vitest";
import { LiveText } from "../../src/web/lib/live-text.ts";
import { ansi } from "../../src/web/parts/ansi.ts";
import { decidedWords } from "../../src/web/parts/approval-words.ts";
import { exactLines, hexLines, measure } from "../../src/web/parts/exact.ts";
import { grantLeft } from "../../src/web/parts/mode-words.ts";
import { toolSummary } from "../../src/web/parts/tools.ts";
import { briefWords, elapsed, outcomeWords, span } from "../../src/web/parts/words.ts";

const turn = "11111111-1111-4111-8111-111111111111";
const stamp = { id: 1, at: "2026-11-20T10:00:00.000Z" };

describe("text of a terminal", () => {
  test("keeps its colours and loses what would move the cursor", () => {
    expect(ansi("a\u001b[31mred\u001b[1mbold\u001b[0m\u001b[2J\u001b[38;5;9mz\u001b]0;title\u0007!")).toEqual(
      [
        { text: "a", look: "" },
        { text: "red", look: "red" },
        { text: "bold", look: "red bold" },
        { text: "z", look: "" },
        { text: "!", look: "" },
      ],
    );
  });

  test("shows characters that hide or turn text as a mark", () => {
    expect(ansi("rm \u202etxt.\u0000\u0007")[0]?.text).toBe("rm ·txt.··");
  });

  test("shows what a progress line said last, and that it said more before", () => {
    expect(ansi("10 %\r50 %\r100 %\r\ndone\n")[0]?.text).toBe("…100 %\ndone\n");
  });

  test("hides no line behind a title that does not end", () => {
    expect(ansi("a\u001b]0;b\nc")).toEqual([
      { text: "a", look: "" },
      { text: "\nc", look: "" },
    ]);
  });
});

describe("a request, exactly", () => {
  const joined = (text: string) =>
    exactLines(text).map((line) =>
      line.map((piece) => `${piece.text}${piece.named ? `*${piece.times}` : ""}`),
    );

  test("keeps its lines, and names what could not be seen once with how often", () => {
    expect(joined("a\u200b\u200b\u200bb\n\n\ttab\r\n")).toEqual([
      ["a", "U+200B*3", "b"],
      [],
      ["\ttab", "U+000D*1"],
    ]);
    expect(joined("")).toEqual([[]]);
  });

  test("is measured by lines, bytes, and what a reader should not trust their eyes with", () => {
    expect(measure("rm p\u043est\u202e\n")).toEqual({ lines: 1, bytes: 12, named: 1, foreign: 1 });
    expect(measure("a\nb").lines).toBe(2);
    expect(measure("").lines).toBe(0);
    expect(exactLines("p\u043est")[0]!.map(({ foreign }) => foreign)).toEqual([false, true, false]);
  });

  test("in bytes stands as hexdump has it", () => {
    expect(hexLines(new TextEncoder().encode("\u007fELF ~1234"))).toBe(
      "0000  7f 45 4c 46 20 7e 31 32  .ELF ~12\n0008  33 34                    34",
    );
  });

  test("that was not approved never reads as if it ran", () => {
    for (const decision of ["denied", "expired", "void"] as const)
      expect(decidedWords({ decision })).toMatchObject({
        tone: "warning",
        detail: expect.stringContaining("Nothing was run."),
      });
    expect(decidedWords({ decision: "approved", by: "ana" }).headline).toBe("Approved by ana.");
  });

  test("and what is left of a grant is never less than nothing", () => {
    const now = Date.parse("2026-11-20T10:00:00.000Z");
    const left = (ms: number) =>
      grantLeft({ mode: "autonomous", until: new Date(now + ms).toISOString() }, now);
    expect([1_790_000, 60_000, 59_000, -5].map(left)).toEqual(["30 min", "1 min", "59 s", "0 s"]);
    expect(grantLeft({ mode: "observe" }, now)).toBe("");
  });
});

describe("live text", () => {
  const delta = (block: number, from: number, text: string) =>
    ({ name: "delta", turn, block, from, text }) as const;

  test("is put together by offset, and a repeated piece changes nothing", () => {
    const live = new LiveText();
    for (const piece of [delta(0, 0, "The "), delta(0, 4, "disk"), delta(0, 4, "disk"), delta(0, 99, "lost")])
      live.add(piece);
    expect(live.blocks()).toEqual(["The disk"]);
  });

  test("is superseded by the stored text, and a block that overtook it stays", () => {
    const live = new LiveText();
    live.add(delta(0, 0, "One"));
    live.add(delta(1, 0, "Two"));
    live.settle({ ...stamp, kind: "text", text: "One, whole" });
    expect(live.blocks()).toEqual(["Two"]);
    live.settle({ ...stamp, kind: "turn_end", reason: "done" });
    expect(live.blocks()).toEqual([]);
  });
});

describe("words", () => {
  test("an unknown outcome never reads like success", () => {
    const words = outcomeWords("cycle", { kind: "unknown", reason: "The line was lost." });
    expect(words).toMatchObject({
      tone: "warning",
      headline: "Not known: the cycle may have been carried out.",
    });
  });

  test("a reset that was accepted is no cure before the machine was seen to boot", () => {
    const accepted = outcomeWords("reset", { kind: "unknown", reason: "It was accepted." });
    expect(accepted).toEqual({
      tone: "warning",
      headline: "Not known to be a cure.",
      detail: "It was accepted.",
    });
    const cured = outcomeWords("reset", { kind: "done", changed: true, state: "running" });
    expect(cured).toMatchObject({ tone: "good", headline: "The machine has come back." });
  });

  test("what happened last names verb, time, person, and an end that was not good", () => {
    const brief = { id: "x", verb: "cycle", by: "ana", at: "2026-11-20T10:00:00.000Z", outcome: "done" };
    const now = Date.parse("2026-11-20T10:00:40.000Z");
    expect(briefWords(brief, now)).toBe("cycled 40 s ago by ana");
    expect(briefWords({ ...brief, outcome: "failed" }, now)).toBe("cycled (failed) 40 s ago by ana");
    const { outcome: _, ...open } = brief;
    expect(briefWords(open, now)).toBe("cycled (not known yet) 40 s ago by ana");
  });

  test("spans and elapsed time are short, and never negative", () => {
    expect([-5, 8000, 240_000, 7_500_000, 3 * 86_400_000].map(span)).toEqual([
      "0 s",
      "8 s",
      "4 min",
      "2 h 5 min",
      "3 d",
    ]);
    expect([-5, 42_000, 723_000, 3_723_000].map(elapsed)).toEqual(["0:00", "0:42", "12:03", "1:02:03"]);
  });

  test("a tool's input is one line", () => {
    expect(toolSummary({ description: "x", command: "df\n -h" })).toBe("df -h");
    expect(toolSummary({ odd: [1] })).toBe('{"odd":[1]}');
    expect(toolSummary(null)).toBe("");
    expect(toolSummary("X #\recho ok")).toBe("X #\recho ok");
  });
});
