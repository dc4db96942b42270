import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { buildHouse } from "./house.ts";

const minuteMs = 60_000;

test.each(["no lock", "a dead one's lock"])(
  "set-ups that find %s together install once, and leave no lock",
  async (found) => {
    const house = buildHouse();
    if (found !== "no lock") writeFileSync(house.path(".setup.lock"), `${goneProcess()} ${Date.now()}`);
    const ended = await Promise.all([1, 2, 3, 4].map(() => house.startSetUp().ended));
    expect(ended.map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    expect(house.installs()).toBe(1);
    expect(locksIn(house.path())).toEqual([]);
  },
);

test.each([
  ["a process that is gone", () => `${goneProcess()} ${Date.now()}`],
  ["nobody", () => ""],
  [
    "a living process, taken longer ago than any set-up lasts",
    () => `${process.pid} ${Date.now() - 31 * minuteMs}`,
  ],
])("a lock of %s is taken over", (_, held) => {
  const house = buildHouse();
  writeFileSync(house.path(".setup.lock"), held());
  expect(house.setUp()).toMatchObject({ status: 0 });
  expect(locksIn(house.path())).toEqual([]);
});

test("a lock that holds the set-up's own number is another life's, and is taken over", () => {
  const house = buildHouse();
  // The only way to know a number beforehand: the process writes the lock, then becomes the set-up.
  const first = `require("fs").writeFileSync(".setup.lock", process.pid + " " + Date.now());`;
  writeFileSync(house.path("first.cjs"), first);
  const { status } = spawnSync(
    process.execPath,
    ["--require", house.path("first.cjs"), house.path("scripts", "setup.mjs"), "dev"],
    { cwd: house.path(), env: { PATH: house.path("bin"), npm_execpath: house.path("npm-cli.cjs") } },
  );
  expect({ status, installs: house.installs() }).toEqual({ status: 0, installs: 1 });
});

test("a set-up waits while another one is at work, and names it", async () => {
  const house = buildHouse();
  writeFileSync(house.path(".setup.lock"), `${process.pid} ${Date.now() - minuteMs}`);
  const setUp = house.startSetUp();
  await setUp.heard(`process ${process.pid}`);
  expect(house.installs()).toBe(0);
  rmSync(house.path(".setup.lock"));
  expect(await setUp.ended).toMatchObject({ status: 0 });
  expect(house.installs()).toBe(1);
});

test("a set-up that ends leaves a lock that has become another's", () => {
  const house = buildHouse();
  const others = `${process.pid} ${Date.now()}`;
  const fake = readFileSync(house.path("npm-cli.cjs"), "utf8").replace(/^#!.*\n/, "");
  writeFileSync(
    house.path("npm-cli.cjs"),
    `${fake}\nfs.rmSync(".setup.lock"); fs.writeFileSync(".setup.lock", "${others}");`,
  );
  expect(house.setUp()).toMatchObject({ status: 0 });
  expect(readFileSync(house.path(".setup.lock"), "utf8")).toBe(others);
});

test("a set-up whose installation fails leaves no lock", () => {
  const house = buildHouse();
  writeFileSync(house.path("broken"), "");
  expect(house.setUp()).toMatchObject({ status: 1 });
  expect(existsSync(house.path(".setup.lock"))).toBe(false);
});

function goneProcess(): number {
  return spawnSync(process.execPath, ["--version"]).pid;
}

function locksIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith(".setup.lock"));
}
