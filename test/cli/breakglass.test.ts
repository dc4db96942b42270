import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

test("the command runs what it is given with the pinned Node, and ends with its exit code", () => {
  const { command } = buildPackage(`console.log(process.argv.slice(2).join()); process.exit(7);`);
  const { status, stdout } = spawnSync(process.execPath, [command, "link", "now"], { encoding: "utf8" });
  expect({ status, stdout }).toEqual({ status: 7, stdout: "link,now\n" });
});

test("a signal reaches the server, which ends in its own time", async () => {
  const { command } = buildPackage(
    `process.on("SIGTERM", () => process.exit(3)); setTimeout(() => {}, 60_000); console.log("ready");`,
  );
  const child = spawn(process.execPath, [command, "serve"], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  expect(await ended).toEqual([3, null]);
});

test("without the pinned Node it says in one line how to get it", () => {
  const { command, root } = buildPackage("");
  rmSync(join(root, "node_modules"), { recursive: true });
  const { status, stderr } = spawnSync(process.execPath, [command], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^[^\n]*npm start[^\n]*\n$/),
  });
});

/** A package with the real command, this Node as the pinned one, and another main. */
function buildPackage(main: string) {
  const root = mkdtempSync(join(tmpdir(), "bg-command-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const command = join(root, "src", "cli", "breakglass.mjs");
  cpSync("src/cli/breakglass.mjs", command);
  writeFileSync(join(root, "src", "cli", "main.mjs"), main);
  mkdirSync(join(root, "node_modules", ".bin"), { recursive: true });
  symlinkSync(process.execPath, join(root, "node_modules", ".bin", "node"));
  return { root, command };
}
