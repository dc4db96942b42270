// Prepares this folder for `npm start`, `npm test` and `npm run dev`: packages, the pinned Node, the built page, the
// system's programs. Plain JavaScript without packages, since it runs on whatever Node the machine has.
// Does nothing, in a blink, when nothing has changed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const purpose = process.argv[2] ?? "start";
/** No set-up takes so long: an older lock belongs to a process that got a dead one's number, and is taken over. */
const lockMs = 30 * 60_000;

refuseOldNode();
withLock(() => {
  installPackages();
  linkPinnedNode();
  if (purpose !== "dev") buildPage();
});
installPrograms();

function refuseOldNode() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const works = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major === 24 || major >= 26;
  if (!works)
    fail(
      `Node ${process.versions.node} cannot set this up. Install Node 20.19 or later, 22.12 or later, 24, or 26.`,
    );
}

function installPackages() {
  const stampFile = join(root, "node_modules", ".breakglass-stamp");
  const stamp = hashOf(
    ["package-lock.json", "package.json", ".npmrc"].map((file) => join(root, file)),
    process.platform + process.arch,
  );
  if (read(stampFile) === stamp) return;
  say("installing packages (once, about 800 MB, half of it the agent)");
  // npm empties node_modules first: whatever ends it from here on, the next start must install again.
  fs.rmSync(stampFile, { force: true });
  const npm = process.env["npm_execpath"];
  const args = [
    "ci",
    "--include=dev",
    "--include=optional",
    "--ignore-scripts",
    "--loglevel=error",
    "--no-audit",
    "--no-fund",
  ];
  const result =
    npm && fs.existsSync(npm)
      ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: ["ignore", "ignore", "inherit"] })
      : spawnSync("npm", args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (result.error)
    fail(`npm could not be started: ${result.error.message}. Install it, and run this again.`);
  if (result.status !== 0)
    fail(
      "`npm ci` did not end well: node_modules may be empty or incomplete, the rest of this folder is as it was. " +
        "Mend what npm says above and run this again; it installs from the beginning.",
    );
  fs.writeFileSync(stampFile, stamp);
}

/** npm 10 may lose the link to the pinned Node. */
function linkPinnedNode() {
  const link = join(root, "node_modules", ".bin", "node");
  if (fs.existsSync(link)) return;
  const { platform, arch } = process;
  const name = [`node-${platform}-${arch}`, `node-bin-${platform}-${arch}`].find((each) =>
    fs.existsSync(join(root, "node_modules", each, "bin", "node")),
  );
  if (!name)
    fail(
      `There is no pinned Node for ${platform}-${arch}. Breakglass runs on Linux and macOS, x64 and arm64; were optional packages left out?`,
    );
  // A link that leads nowhere is in the way, and `existsSync` does not see it.
  if (fs.lstatSync(link, { throwIfNoEntry: false })) fs.unlinkSync(link);
  fs.symlinkSync(join("..", name, "bin", "node"), link);
}

function buildPage() {
  const stampFile = join(root, "dist", "web", ".stamp");
  const sources = ["src/web", "src/protocol", "vite.config.ts", "scripts/build-page.ts", "package-lock.json"];
  const stamp = hashOf(
    sources.flatMap((path) => filesUnder(join(root, path))),
    "",
  );
  if (read(stampFile) === stamp) return;
  say("building the page");
  const result = spawnSync(join(root, "node_modules", ".bin", "node"), ["scripts/build-page.ts"], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (result.status !== 0)
    fail("The page was not built; its problem is above. The last built page, if any, is untouched.");
  fs.writeFileSync(stampFile, stamp);
}

/** What `start` needs of the system, and what the tests need beyond it: program and Debian package. */
function installPrograms() {
  const forStart = {
    ssh: "openssh-client",
    "ssh-agent": "openssh-client",
    "ssh-keyscan": "openssh-client",
    bwrap: "bubblewrap",
    perl: "perl",
    flock: "util-linux",
  };
  const forTest = {
    ...forStart,
    sshd: "openssh-server",
    chromium: "chromium",
    "chromium-headless-shell": "chromium-headless-shell",
    shellcheck: "shellcheck",
    ps: "procps",
    "mkfs.ext4": "e2fsprogs",
    mount: "mount",
  };
  const wanted = purpose === "test" ? forTest : forStart;
  const missing = Object.entries(wanted).filter(([program]) => !onPath(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(([, name]) => name))];
  const isRootOnDebian = process.getuid?.() === 0 && fs.existsSync("/etc/debian_version");
  if (!isRootOnDebian) {
    say(
      `missing on this machine: ${missing.map(([program]) => program).join(", ")}. On Debian: apt-get install ${packages.join(" ")}`,
    );
    return;
  }
  say(`installing ${packages.join(", ")} with apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args) =>
    spawnSync("apt-get", ["-qq", ...args], { env, stdio: ["ignore", "ignore", "inherit"] });
  apt("update");
  const installed = apt("install", "-y", "--no-install-recommends", ...packages);
  if (installed.status !== 0)
    say(`apt-get could not install ${packages.join(", ")}; what needs them will say so.`);
}

function onPath(program) {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.some((folder) => folder !== "" && fs.existsSync(join(folder, program)));
}

/** Two set-ups at once take turns; a lock whose owner is gone is taken over. */
function withLock(work) {
  const lock = join(root, ".setup.lock");
  let mine = takeLock(lock);
  for (let told = false; mine === null; mine = takeLock(lock)) {
    const held = read(lock);
    if (held === null) continue;
    if (isStale(held)) {
      removeStale(lock, held);
      continue;
    }
    if (!told)
      say(
        `another set-up (process ${held.split(" ")[0]}) is at work here; waiting for it. If there is none, remove ${lock}`,
      );
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  const unlock = () => {
    if (read(lock) === mine) fs.rmSync(lock, { force: true });
  };
  process.once("exit", unlock);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  work();
  unlock();
  process.removeListener("exit", unlock);
}

/** What the lock now says, or null when somebody else has it. It is linked whole: nobody ever sees it without its owner. */
function takeLock(lock) {
  const mine = `${process.pid} ${Date.now()}`;
  const draft = `${lock}.${process.pid}.new`;
  let problem = null;
  try {
    fs.rmSync(draft, { force: true });
    fs.writeFileSync(draft, mine);
    fs.linkSync(draft, lock);
  } catch (error) {
    problem = error;
  }
  fs.rmSync(draft, { force: true });
  if (problem === null) return mine;
  if (problem.code !== "EEXIST") fail(`The set-up cannot write in this folder: ${problem.message}.`);
  return null;
}

function isStale(held) {
  const [pid, takenMs] = held.split(" ").map(Number);
  // A container that was killed and starts again gives the same process the same number.
  return pid === process.pid || !isAlive(pid) || !(Date.now() - takenMs < lockMs);
}

/** Between judging and moving it another set-up may have taken it over: then its new lock is put back. */
function removeStale(lock, held) {
  const moved = `${lock}.${process.pid}.old`;
  try {
    fs.renameSync(lock, moved);
    if (read(moved) !== held) fs.linkSync(moved, lock);
  } catch (error) {
    // Gone already, or taken already: either way the next look tells.
    if (error.code !== "ENOENT" && error.code !== "EEXIST") throw error;
  }
  fs.rmSync(moved, { force: true });
}

function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function filesUnder(path) {
  if (!fs.existsSync(path)) return [];
  if (!fs.statSync(path).isDirectory()) return [path];
  return fs
    .readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hashOf(files, salt) {
  const hash = createHash("sha256").update(salt);
  for (const file of files)
    hash.update(file.slice(root.length)).update("\0").update(fs.readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function read(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function say(text) {
  process.stderr.write(`breakglass: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}
