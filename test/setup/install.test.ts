import {
  existsSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { expect, test } from "vitest";
import { buildHouse } from "./house.ts";

test("packages are installed once, and again when the lock file has changed", () => {
  const house = buildHouse();
  expect(house.setUp()).toEqual({ status: 0, said: expect.stringContaining("installing packages") });
  expect(house.setUp()).toEqual({ status: 0, said: "" });
  expect(house.installs()).toBe(1);
  writeFileSync(house.path("package-lock.json"), '{ "changed": true }');
  expect(house.setUp()).toMatchObject({ status: 0 });
  expect(house.installs()).toBe(2);
});

test("a set-up killed in the middle of npm ci installs again at the next start", async () => {
  const house = buildHouse();
  house.setUp();
  writeFileSync(house.path("package-lock.json"), '{ "changed": true }');
  writeFileSync(house.path("hang"), "");
  const setUp = house.startSetUp();
  await setUp.heard("npm hangs");
  setUp.kill("SIGKILL");
  process.kill(Number(readFileSync(house.path("hanging"), "utf8")));
  await setUp.ended;
  for (const file of ["hang", "hanging"]) rmSync(house.path(file));
  rmSync(house.path("busy"), { recursive: true });
  // Also when the files are again those of the last whole installation.
  writeFileSync(house.path("package-lock.json"), "{}");
  expect(house.setUp()).toMatchObject({ status: 0 });
  expect(house.installs()).toBe(3);
  expect(existsSync(house.path("node_modules", ".bin", "node"))).toBe(true);
});

test("without npm_execpath, or with one that is gone, npm is taken from the PATH", () => {
  const house = buildHouse();
  expect(house.setUp("path")).toMatchObject({ status: 0 });
  unlinkSync(house.path("npm-cli.cjs"));
  rmSync(house.path("node_modules"), { recursive: true });
  expect(house.setUp()).toMatchObject({ status: 0 });
  expect(house.installs()).toBe(2);
});

test("without any npm it says what to install", () => {
  const house = buildHouse();
  unlinkSync(house.path("bin", "npm"));
  expect(house.setUp("path")).toEqual({
    status: 1,
    said: expect.stringContaining("npm could not be started"),
  });
});

test("a failed npm ci is told as what it leaves, and the next start installs again", () => {
  const house = buildHouse();
  writeFileSync(house.path("broken"), "");
  const { status, said } = house.setUp();
  expect(status).toBe(1);
  expect(said).toContain("node_modules may be empty or incomplete");
  expect(said).toContain("run this again");
  rmSync(house.path("broken"));
  expect(house.setUp()).toMatchObject({ status: 0 });
});

test("a link to the pinned Node that leads nowhere is put right", () => {
  const house = buildHouse();
  house.setUp();
  const link = house.path("node_modules", ".bin", "node");
  const right = readlinkSync(link);
  unlinkSync(link);
  symlinkSync("../gone/bin/node", link);
  expect(house.setUp()).toEqual({ status: 0, said: "" });
  expect(readlinkSync(link)).toBe(right);
});
