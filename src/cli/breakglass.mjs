#!/usr/bin/env node
// The package's command, on whatever Node the machine has: the rest is TypeScript, which the pinned Node runs as it is.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const node = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
const main = fileURLToPath(new URL("main.mjs", import.meta.url));

if (existsSync(node)) runPinned();
else {
  process.stderr.write(
    `The pinned Node is not at ${node}. Run \`npm start\` once in Breakglass's folder; it installs it.\n`,
  );
  process.exitCode = 1;
}

function runPinned() {
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: "inherit" });
  // The server ends in order; this waits for it.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(
      `The pinned Node does not run: ${error.message}. Run \`npm start\` once; it mends it.\n`,
    );
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = signal === null ? code : 128 + constants.signals[signal];
  });
}
