import { readdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const folder = resolve("dist/web");
/** The first load: own code and libraries, markdown and all; without what comes when the page is idle. */
const firstLoadBytesMax = 60_000;
const later = /assets\/later-[^/]+\.js/;

test("the first load of the page is at most 60 kB, gzipped", async () => {
  const files = (await readdir(folder, { recursive: true })).filter(
    (file) => file.endsWith(".gz") && file !== "sw.js.gz" && !later.test(file),
  );
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(files.length).toBeGreaterThan(4);
  expect(total).toBeLessThanOrEqual(firstLoadBytesMax);
});

test("what comes later is asked for by nothing but its import", async () => {
  const files = await readdir(folder, { recursive: true });
  expect(files.filter((file) => later.test(file)).length).toBeGreaterThan(0);
  const [entry] = files.filter((file) => /assets\/index-[^/]+\.js$/.test(file));
  const source = await readFile(join(folder, entry!), "utf8");
  expect(source.match(/.{7}.\.\/later-/g)).toEqual(["import(`./later-"]);
  expect(await readFile(join(folder, "index.html"), "utf8")).not.toContain("later-");
});

test("the page has no script or style that its policy forbids", async () => {
  const html = await readFile(join(folder, "index.html"), "utf8");
  expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]*\ssrc=)/);
});

test("the service worker keeps the files of the page, and its name changes with any of them", async () => {
  const worker = await readFile(join(folder, "sw.js"), "utf8");
  const shell = JSON.parse(/const shell = (\[.*\]);/.exec(worker)![1]!) as string[];
  expect(shell).toContain("/");
  for (const each of [/^\/assets\/markdown-.*\.js$/, /^\/assets\/later-.*\.js$/])
    expect(shell.some((path) => each.test(path))).toBe(true);
  expect(shell.some((path) => path.startsWith("/api") || path === "/sw.js")).toBe(false);
  expect(worker).toMatch(/const version = "[0-9a-f]{16}"/);
});
