import { createHash } from "node:crypto";
import { accessSync, constants, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface RuntimeFolder {
  path(name: string): string;
  /** Answers the path. */
  write(name: string, text: string): string;
  remove(): void;
}

/** A socket's path is 104 bytes on macOS and 108 on Linux, and a master first binds to its path and 17 bytes more. */
const folderBytesMax = 70;

/**
 * A 0700 folder for sockets and small files, in memory where the system has /dev/shm: the power path must not wait
 * for a disk that hangs. Everything in it is read and written synchronously for the same reason (no thread pool).
 *
 * With a `name` it is the same folder at every start, emptied of what a killed server left: only for whoever knows that
 * nobody else uses this name now. Without one it is a new folder.
 */
export function makeRuntimeFolder(name?: string): RuntimeFolder {
  const folder =
    (name !== undefined && takeFolder(join(memoryFolder(), `bg-${name}`))) ||
    mkdtempSync(join(memoryFolder(), "bg-"));
  if (Buffer.byteLength(folder) > folderBytesMax) {
    rmSync(folder, { recursive: true });
    throw new Error(
      `The temporary folder ${folder} is too long a path for sockets: set TMPDIR to a shorter one.`,
    );
  }
  const path = (name: string) => join(folder, name);
  return {
    path,
    write(name, text) {
      writeFileSync(path(name), text, { mode: 0o600 });
      return path(name);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** null when somebody else has put something there: the place is open to all. */
function takeFolder(folder: string): string | null {
  const there = lstatSync(folder, { throwIfNoEntry: false });
  if (there?.isDirectory() && there.uid === process.getuid?.())
    rmSync(folder, { recursive: true, force: true });
  try {
    mkdirSync(folder, { mode: 0o700 });
    return folder;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return null;
    throw error;
  }
}

function memoryFolder(): string {
  try {
    accessSync("/dev/shm", constants.W_OK | constants.X_OK);
    return "/dev/shm";
  } catch {
    // macOS and some containers have none: then the folder is only as dependable as the temporary one.
    return tmpdir();
  }
}

/** Names what belongs to one data directory in places that are shared with others. */
export function nameOf(dataDir: string): string {
  return createHash("sha256").update(dataDir).digest("hex").slice(0, 12);
}

/**
 * The folder in memory that outlives this process, the same at each start: for what must be kept while the disk does not take
 * it. null when there is none, or one that somebody else could have put there.
 */
export function findKeptFolder(dataDir: string): string | null {
  const folder = join(memoryFolder(), `bg-${nameOf(dataDir)}-kept`);
  const there = lstatSync(folder, { throwIfNoEntry: false });
  const ours = there?.isDirectory() && there.uid === process.getuid?.() && (there.mode & 0o077) === 0;
  return ours ? folder : null;
}

/** The same, made (0700) if it is not there. */
export function keptFolder(dataDir: string): string | null {
  try {
    mkdirSync(join(memoryFolder(), `bg-${nameOf(dataDir)}-kept`), { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return findKeptFolder(dataDir);
}
