import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { optionNames } from "../../src/server/config/options.ts";

const root = join(import.meta.dirname, "../..");
const documented = readFileSync(join(root, "docs/configuration.md"), "utf8")
  .split("\n")
  .flatMap((line) => /^\| `([A-Z_]+)`\s+\|/.exec(line)?.[1] ?? []);

test("the table of docs/configuration.md names every variable that is read, once, and no other", () => {
  expect(documented.toSorted()).toEqual([...optionNames].toSorted());
});

test("every variable that the code names is one that is read", () => {
  const folder = join(root, "src/server/config");
  const source = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
  const named = new Set(
    source.join("\n").match(/\b(?:BREAKGLASS|ANTHROPIC|CLAUDE_CODE|API|XDG)_[A-Z]+(?:_[A-Z]+)*\b/g),
  );
  named.delete("BREAKGLASS_PORT");
  expect([...named].filter((name) => !documented.includes(name))).toEqual([]);
  for (const name of optionNames) expect(named.has(name) || name === "HOME").toBe(true);
});

test("the example of a file is one", async () => {
  const { readConfig } = await import("../../src/server/config/read.ts");
  const text = readFileSync(join(root, "docs/configuration.md"), "utf8");
  const example = /```yaml\n(.*?)```/s.exec(text)?.[1] ?? "";
  const env = { BREAKGLASS_CONFIG: "/x.yaml", BREAKGLASS_KEY_PATH: "/key" };
  const { config, problems, warnings } = await readConfig(env, () => example);
  expect(problems).toEqual([]);
  expect(warnings).toEqual([]);
  expect(config?.targets.map(({ name }) => name)).toEqual(["db"]);
  expect(config?.presets?.[0]?.about).toBe("Did the last one finish?");
});
