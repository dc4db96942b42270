import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { within } from "./within.ts";

export interface KnownHosts {
  /** Brings what ssh accepted to disk. One at a time; never rejects: a failure is logged, and the next call tries again. */
  save(): Promise<void>;
}

/** A disk that has not answered by then is passed over: hosts are learned anew, and that is logged. */
const readMsMax = 2_000;

/**
 * ssh reads and writes a file in memory, so that a hung disk never keeps it from connecting; what it learned is copied
 * to `dir/known_hosts` afterwards.
 */
export async function openKnownHosts(deps: {
  readonly memoryPath: string;
  readonly dir: string;
  readonly log: (text: string) => void;
}): Promise<KnownHosts> {
  const { memoryPath, dir, log } = deps;
  const path = join(dir, "known_hosts");
  let saved = await readInTime(path, log);
  writeFileSync(memoryPath, saved, { mode: 0o600 });
  let saving: Promise<void> | null = null;

  async function write(): Promise<void> {
    try {
      const text = readFileSync(memoryPath, "utf8");
      if (text === saved) return;
      await mkdir(dir, { recursive: true, mode: 0o700 });
      await writeFile(`${path}.new`, text, { mode: 0o600 });
      await rename(`${path}.new`, path);
      saved = text;
    } catch (error) {
      log(
        `ssh: accepted host keys could not be written to ${path} (${String(error)}); a restart will accept them anew`,
      );
    }
  }

  return {
    async save() {
      saving ??= write().finally(() => (saving = null));
      await saving;
    },
  };
}

async function readInTime(path: string, log: (text: string) => void): Promise<string> {
  const text = readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT")
      log(`ssh: ${path} could not be read (${error.message}); host keys are accepted anew`);
    return "";
  });
  const inTime = await within(readMsMax, text);
  if (inTime === null)
    log(`ssh: ${path} could not be read within ${readMsMax} ms; host keys are accepted anew`);
  return inTime ?? "";
}
