import fc from "fast-check";
import { expect, test } from "vitest";
import { holds, parseCondition } from "../../src/server/runbooks/condition.ts";
import { match } from "../../src/server/runbooks/match.ts";
import { parsePattern } from "../../src/server/runbooks/pattern.ts";

const groupsOf = (pattern: string, line: string, effort = { left: Infinity }) => {
  const found = match(parsePattern(pattern), line, effort);
  return found && Object.fromEntries(found);
};

/** Patterns as people write them, without what JavaScript reads otherwise: it tries a repeated group that matched nothing once more. */
const atom = fc.constantFrom(
  "a",
  "b",
  "1",
  " ",
  ".",
  "\\d",
  "\\w",
  "\\S",
  "[ab]",
  "[^a]",
  "[a-c1]",
  "\\.",
  "\\b",
);
const single = atom.filter((each) => each !== "\\b");
const repeated = fc
  .tuple(single, fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "+?", "??"))
  .map(([what, times]) => what + times);
const { pattern } = fc.letrec<{ pattern: string; part: string }>((tie) => ({
  part: fc.oneof(
    { depthSize: "small" },
    atom,
    repeated,
    tie("pattern").map((inner) => `(?:a${inner})+`),
    tie("pattern").map((inner) => `(?:a${inner})?`),
    fc.tuple(tie("pattern"), tie("pattern")).map(([one, other]) => `(?:${one}|${other})`),
  ),
  pattern: fc.array(tie("part"), { minLength: 1, maxLength: 4 }).map((parts) => parts.join("")),
}));
const line = fc.string({ unit: fc.constantFrom("a", "b", "c", "1", " ", ".", "_"), maxLength: 14 });

test("a pattern means what it means in JavaScript", () => {
  fc.assert(
    fc.property(pattern, pattern, fc.boolean(), fc.boolean(), line, (one, other, starts, ends, text) => {
      const source = `${starts ? "^" : ""}(?<one>${one})(?<other>${other})${ends ? "$" : ""}`;
      fc.pre(source.length < 300);
      const theirs = new RegExp(source).exec(text)?.groups;
      expect(groupsOf(source, text)).toEqual(theirs === undefined ? null : { ...theirs });
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  "(a+)+$",
  "(?:a|a)*$",
  "(?:a|aa)+$",
  "(.*)*$",
  "(?:a*)*b",
  "a*a*a*a*a*a*b",
  "(?:a?){50}a{50}$",
  "^(?<x>\\S+)+\\s+(?<y>\\S+)+%$",
])("no line makes %s slow: the effort grows with the line, not faster", (hostile) => {
  const pattern = parsePattern(hostile);
  const cost = (length: number) => {
    const effort = { left: Number.MAX_SAFE_INTEGER };
    match(pattern, `${"a".repeat(length)}!`, effort);
    return Number.MAX_SAFE_INTEGER - effort.left;
  };
  expect(cost(2_000)).toBeLessThan(2.5 * cost(1_000));
});

test.each([
  ["(a", "is not closed"],
  ["a)", "has no ("],
  ["[a", "is not closed"],
  ["*a", "nothing before *"],
  ["a**", "twice in a row"],
  ["(?=a)", "lookaround"],
  ["(?!a)", "lookaround"],
  ["(?<a>b)(?<a>c)", "there twice"],
  ["(?<A>b)", "small letters"],
  ["\\1", "not to be had"],
  ["\\p{L}", "not to be had"],
  ["a{1000}", "100 at most"],
  ["(?:a{100}){100}", "too large"],
  ["a{3,2}", "wrong order"],
  ["[b-a]", "no right end"],
  ["a\\", "at the end"],
  ["^*", "cannot be repeated"],
  ["a".repeat(501), "500 characters"],
])("%s is refused with a reason", (wrong, reason) => {
  expect(() => parsePattern(wrong)).toThrow(reason);
});

test.each([
  ["used >= 90", { used: 90 }, true],
  ["used > 90", { used: 90 }, false],
  ["left * 20 < total", { left: 4, total: 100 }, true],
  ["a + b - 1 = 2 * c / 4", { a: 1, b: 2, c: 4 }, true],
  ["a != 1.5", { a: 1.5 }, false],
  ["a <= 3", {}, null],
  ["a / 0 > 1", { a: 1 }, null],
])("%s of %o is %s", (text, values: Readonly<Record<string, number>>, expected) => {
  expect(holds(parseCondition(text), (name) => values[name])).toBe(expected);
});

test.each([
  "",
  "used",
  "used >=",
  ">= 1",
  "a >= 1 and b",
  "a = b = c",
  "a >> 1",
  "constructor()",
  "a; b > 1",
  "x".repeat(201),
])("the condition %j is refused", (wrong) => {
  expect(() => parseCondition(wrong)).toThrow();
});

test("repetitions of nothing are counted too, before they hold up the start", () => {
  expect(() => parsePattern("(?:(?:(?:(?:){100}){100}){100}){100}")).toThrow("too large");
});

test("repetitions within repetitions add to the size of a pattern, and do not double it", () => {
  const depth = 80;
  expect(groupsOf(`^(?<all>${"(?:a".repeat(depth)}${")+".repeat(depth)})$`, "a".repeat(depth))).toEqual({
    all: "a".repeat(depth),
  });
});
