import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fingerprintOf, type HostKey } from "./host-key.ts";
import { keysOf, knownName, withKey, withLearned } from "./known-lines.ts";
import { within } from "./within.ts";

export interface KnownHosts {
  /** Grows when something was changed for ssh by anything but ssh itself. */
  version(): number;
  /** SHA256 fingerprints. */
  fingerprints(name: string): readonly string[];
  /** From now on this key alone stands for the name; `sync` brings it to disk. */
  replace(name: string, key: HostKey): void;
  /**
   * Brings what was learned to disk, and what a person changed on disk to ssh. False when the disk failed or has not
   * answered in `diskMsMax`: it is logged, what ssh knows stays, and the next call tries again. Never rejects.
   */
  sync(): Promise<boolean>;
}

/** A disk that has not answered by then is passed over: at the start hosts are then unknown, and that is logged. */
const diskMsMax = 2_000;

/**
 * ssh reads and writes a file in memory, so that a hung disk never keeps it from connecting. `dir/known_hosts` is the
 * truth of the two: what ssh learned is added to it, and what people or `breakglass enroll` write into it is never undone.
 */
export async function openKnownHosts(deps: {
  readonly memoryPath: string;
  readonly dir: string;
  /** A copy in memory that outlives this process: for a start while the disk hangs. */
  readonly copyPath?: string | undefined;
  readonly log: (text: string) => void;
}): Promise<KnownHosts> {
  const { memoryPath, dir, copyPath, log } = deps;
  const path = join(dir, "known_hosts");
  /** What stood on disk when it was read or written last. */
  let seen = "";
  let version = 0;
  let syncing: Promise<boolean> | null = null;
  let told = "";
  /** Accepted by the Operator, and not on disk yet. */
  const accepted = new Map<string, HostKey>();

  const memory = () => readFileSync(memoryPath, "utf8");
  const learned = () => {
    const known = new Set(seen.split("\n"));
    return memory()
      .split("\n")
      .filter((line) => !known.has(line));
  };
  const withAccepted = (text: string) =>
    [...accepted].reduce((text, [name, key]) => withKey(text, name, key), text);

  function remember(text: string): void {
    if (text === memory()) return;
    replaceInMemory(memoryPath, text);
    version++;
  }

  /** One at a time: a hung disk holds one of Node's threads and no more. */
  async function bring(): Promise<boolean> {
    try {
      do {
        const onDisk = await readIfThere(path);
        const settled = new Map(accepted);
        const next = withAccepted(withLearned(onDisk, learned()));
        if (next !== onDisk) await replaceOnDisk(dir, next);
        for (const [name, key] of settled) if (accepted.get(name) === key) accepted.delete(name);
        const meanwhile = learned();
        seen = next;
        remember(withAccepted(withLearned(next, meanwhile)));
      } while (accepted.size > 0);
      if (copyPath !== undefined) replaceInMemory(copyPath, seen);
      told = "";
      return true;
    } catch (error) {
      tell((error as Error).message);
      return false;
    }
  }

  function tell(why: string): void {
    if (why !== told)
      log(
        `ssh: ${path} cannot be brought up to date (${why}). What was accepted holds until a restart. See to the disk.`,
      );
    told = why;
  }

  async function sync(): Promise<boolean> {
    syncing ??= bring().finally(() => (syncing = null));
    const done = await within(diskMsMax, syncing);
    if (done === null) tell(`no answer within ${diskMsMax} ms`);
    return done ?? false;
  }

  replaceInMemory(memoryPath, "");
  if (!(await sync()) && copyPath !== undefined && existsSync(copyPath)) {
    seen = readFileSync(copyPath, "utf8");
    remember(seen);
  }
  return {
    version: () => version,
    fingerprints: (name) => keysOf(memory(), name).map(fingerprintOf),
    replace(name, key) {
      accepted.set(name, key);
      remember(withKey(memory(), name, key));
    },
    sync,
  };
}

/**
 * For who is no running server: makes this key the only one for the machine in `dir/known_hosts`, durably. A server that
 * runs takes it up when it next refuses a key of that machine. Rejects with what the disk said.
 */
export async function pinHostKey(at: {
  readonly dir: string;
  readonly host: string;
  readonly port: number;
  readonly key: HostKey;
}): Promise<void> {
  const before = await readIfThere(join(at.dir, "known_hosts"));
  const after = withKey(before, knownName(at), at.key);
  if (after !== before) await replaceOnDisk(at.dir, after);
}

async function readIfThere(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
}

async function replaceOnDisk(dir: string, text: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, "known_hosts");
  // Another name for each process: `breakglass enroll` may write while the server does.
  const next = `${path}.${process.pid}`;
  await writeFile(next, text, { mode: 0o600, flush: true });
  await rename(next, path);
  const folder = await open(dir);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** ssh reads either the old or the new one. */
function replaceInMemory(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
