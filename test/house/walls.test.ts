import { spawnSync } from "node:child_process";
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";

/** From the top of the house to its ground; an import may only go down. Rooms in one row do not know each other. */
const rows = [
  ["main.mjs"],
  ["serve.ts"],
  [
    "compose.ts",
    "agent-side.ts",
    "console.ts",
    "cookie-secret.ts",
    "demo.ts",
    "log.ts",
    "notices.ts",
    "power-side.ts",
    "record.ts",
    "sides.ts",
    "verb-audit.ts",
  ],
  ["http"],
  ["sessions"],
  ["agent", "broker", "runbooks", "watch"],
  ["power"],
  ["auth", "audit"],
  ["store"],
  ["ssh"],
  ["process"],
];
/** The composition is one room in several files. */
const entry = new Set(rows[2]);
/** Known to every room. */
const ground = ["clock.ts", "config", "presets.ts"];

test("imports in the server only go down", () => {
  const wrong: string[] = [];
  for (const file of globSync("src/server/**/*.{ts,mjs}")) {
    const room = roomOf(file);
    for (const target of importsOf(file)) {
      const aim = relative("src/server", target);
      if (aim.startsWith("..")) {
        const demo = room === "compose.ts" || room === "demo.ts" ? "../../demo/" : "none";
        if (!aim.startsWith("../protocol/") && !aim.startsWith(demo)) wrong.push(`${file} imports ${target}`);
        continue;
      }
      const other = roomOf(target);
      if (other === room || ground.includes(other)) continue;
      if (rowOf(room) > rowOf(other) || (rowOf(room) === rowOf(other) && !entry.has(room)))
        wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("only the composition names implementations, and only main reads the environment", () => {
  const readers = globSync("src/server/**/*.{ts,mjs}").filter((file) =>
    /process\.env\b/.test(readFileSync(file, "utf8")),
  );
  expect(readers).toEqual(["src/server/main.mjs"]);
});

test("pages know lib, and parts know only props", () => {
  const wrong = globSync("src/web/parts/**/*.{svelte,ts}").flatMap((file) =>
    importsOf(file)
      .filter((target) => target.includes("src/web/pages/") || target.endsWith(".svelte.ts"))
      .map((target) => `${file} imports ${target}`),
  );
  expect(wrong).toEqual([]);
});

test.each([
  ["protocol", `import "../server/planted.ts";`, "TS6059"],
  ["protocol", `process.exit();`, "TS2591"],
  ["protocol", `document.title;`, "TS2584"],
  ["server", `document.title;`, "TS2584"],
  ["web", `import "../server/planted.ts";`, "TS6307"],
  ["web", `process.exit();`, "TS2591"],
])("the wall around %s stops %s", { timeout: 120_000 }, (room, planted, code) => {
  const house = mkdtempSync(join(tmpdir(), "bg-walls-"));
  onTestFinished(() => rmSync(house, { recursive: true }));
  cpSync("tsconfig.base.json", join(house, "tsconfig.base.json"));
  symlinkSync(resolve("node_modules"), join(house, "node_modules"));
  for (const each of ["protocol", "server", "web"]) {
    mkdirSync(join(house, "src", each), { recursive: true });
    cpSync(`src/${each}/tsconfig.json`, join(house, "src", each, "tsconfig.json"));
    writeFileSync(
      join(house, "src", each, "planted.ts"),
      each === room ? `${planted}\nexport {};\n` : "export {};\n",
    );
  }
  const { stdout } = spawnSync("node_modules/.bin/tsc", ["-p", join(house, "src", room)], {
    encoding: "utf8",
  });
  expect(stdout).toContain(code);
});

function roomOf(file: string): string {
  return relative("src/server", file).split("/")[0] ?? "";
}

function rowOf(room: string): number {
  const row = rows.findIndex((rooms) => rooms.includes(room));
  if (row < 0)
    throw new Error(`The room ${room} has no row: give it its place in this test and in ARCHITECTURE.md.`);
  return row;
}

/** Relative imports of a file, resolved. Types count too: knowing a shape is knowing a room. */
function importsOf(file: string): string[] {
  const source = readFileSync(file, "utf8");
  const imports = source.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g);
  return [...imports].map(([, path = ""]) => relative(".", resolve(dirname(file), path)));
}
