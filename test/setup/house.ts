import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Stands for npm: notes its call, fails when two work at once, leaves what `npm ci` leaves of the pinned Node. */
const npm = `#!${process.execPath}
const fs = require("node:fs");
fs.appendFileSync("calls", process.argv.slice(2).join(" ") + "\\n");
fs.mkdirSync("busy");
fs.rmSync("node_modules", { recursive: true, force: true });
if (fs.existsSync("hang")) {
  fs.writeFileSync("hanging", String(process.pid));
  process.stderr.write("npm hangs\\n");
  setTimeout(() => {}, 60_000);
} else {
  const pinned = \`node_modules/node-\${process.platform}-\${process.arch}/bin\`;
  fs.mkdirSync(pinned, { recursive: true });
  fs.mkdirSync("node_modules/.bin");
  fs.symlinkSync(process.execPath, pinned + "/node");
  fs.rmdirSync("busy");
  if (fs.existsSync("broken")) process.exit(1);
}
`;

export interface House {
  readonly path: (...parts: string[]) => string;
  /** Runs the set-up to its end. `npm: "path"` leaves the environment without npm_execpath. */
  readonly setUp: (npm?: "execpath" | "path") => { readonly status: number | null; readonly said: string };
  /** Starts the set-up; `ended` resolves with its exit code and words. */
  readonly startSetUp: () => {
    readonly pid: number;
    readonly kill: (signal: NodeJS.Signals) => void;
    readonly heard: (text: string) => Promise<void>;
    readonly ended: Promise<{ readonly status: number | null; readonly said: string }>;
  };
  /** How often packages were installed. */
  readonly installs: () => number;
}

/** A folder with the real set-up, a tiny package and an npm that installs nothing. Its name has a space. */
export function buildHouse(): House {
  const root = join(mkdtempSync(join(tmpdir(), "bg-setup-")), "a house");
  onTestFinished(() => rmSync(join(root, ".."), { recursive: true }));
  const path = (...parts: string[]) => join(root, ...parts);
  mkdirSync(path("scripts"), { recursive: true });
  cpSync("scripts/setup.mjs", path("scripts", "setup.mjs"));
  for (const file of ["package.json", "package-lock.json"]) writeFileSync(path(file), "{}");
  writeFileSync(path(".npmrc"), "");
  // The programs that the set-up looks for, so that it never asks apt-get.
  mkdirSync(path("bin"));
  for (const program of ["ssh", "ssh-agent", "ssh-keyscan", "bwrap", "perl", "flock"])
    writeFileSync(path("bin", program), "");
  writeFileSync(path("bin", "npm"), npm);
  chmodSync(path("bin", "npm"), 0o755);
  writeFileSync(path("npm-cli.cjs"), npm);

  const args = [path("scripts", "setup.mjs"), "dev"];
  const viaPath = { PATH: path("bin") };
  const viaExecpath = { ...viaPath, npm_execpath: path("npm-cli.cjs") };
  return {
    path,
    setUp(npm = "execpath") {
      const env = npm === "path" ? viaPath : viaExecpath;
      const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: "utf8" });
      return { status, said: stderr };
    },
    startSetUp() {
      const child = spawn(process.execPath, args, { env: viaExecpath, stdio: ["ignore", "ignore", "pipe"] });
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => (said += chunk));
      const closed = once(child, "close") as Promise<[number | null]>;
      onTestFinished(async () => {
        child.kill("SIGKILL");
        await closed;
      });
      return {
        pid: child.pid!,
        kill: (signal) => child.kill(signal),
        async heard(text) {
          while (!said.includes(text)) await Promise.race([once(child.stderr, "data"), closed]);
        },
        ended: closed.then(([status]) => ({ status, said })),
      };
    },
    installs: () =>
      existsSync(path("calls")) ? readFileSync(path("calls"), "utf8").trimEnd().split("\n").length : 0,
  };
}
