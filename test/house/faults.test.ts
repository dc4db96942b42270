import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const rows = readFileSync("docs/faults.md", "utf8")
  .split("\n")
  .flatMap((line) => {
    const [, file, sentence] = /`(test\/\S+\.test\.ts)`: (.+?)\s*\|$/.exec(line) ?? [];
    return file === undefined || sentence === undefined ? [] : [{ file, sentence }];
  });

test.each(rows)("docs/faults.md tells the truth: $sentence", ({ file, sentence }) => {
  // Split over lines by the formatter, or part of a longer name.
  expect(readFileSync(file, "utf8").replaceAll('\\"', '"')).toContain(sentence);
});

test("docs/faults.md has a test in every row", () => {
  const lines = readFileSync("docs/faults.md", "utf8").split("\n");
  const tables = lines.filter((line) => line.startsWith("| ") && !/^\| (?:fault|-)/.test(line));
  expect(tables.length).toBeGreaterThan(50);
  expect(rows.length).toBe(tables.length);
});
