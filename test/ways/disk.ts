import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { scratchFolder } from "../doubles/sessions.ts";

/** Mounting and freezing file systems is root's. */
export const isRoot = process.getuid?.() === 0;

/** A file system of its own that can be made to fail as disks do. */
export interface SickDisk {
  readonly path: string;
  /** From now on whatever writes to it waits, in the kernel. */
  freeze(): void;
  /** Does nothing where it is not frozen. */
  thaw(): void;
  /** Takes all of its space away. */
  fill(): void;
  free(): void;
  readOnly(on: boolean): void;
}

export function mountDisk(): SickDisk {
  const folder = scratchFolder();
  const image = join(folder, "image");
  const path = join(folder, "mounted");
  const ballast = join(path, "ballast");
  mkdirSync(path);
  run("truncate", "-s", "16M", image);
  run("mkfs.ext4", "-q", "-m", "0", image);
  run("mount", "-o", "loop", image, path);
  let frozen = false;
  const thaw = () => {
    if (frozen) run("fsfreeze", "-u", path);
    frozen = false;
  };
  onTestFinished(() => {
    thaw();
    run("umount", "-l", path);
  });
  return {
    path,
    freeze() {
      run("fsfreeze", "-f", path);
      frozen = true;
    },
    thaw,
    fill() {
      const block = Buffer.alloc(64 * 1024);
      for (const bytes of [block.length, 4096, 1]) {
        try {
          for (;;) writeFileSync(ballast, block.subarray(0, bytes), { flag: "a" });
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        }
      }
    },
    free: () => rmSync(ballast),
    readOnly: (on) => run("mount", "-o", on ? "remount,ro" : "remount,rw", path),
  };
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** What the record on disk says of one Operation, and what is left in the spools of this data directory. */
export function recordOf(dataDir: string, id: string) {
  const of = (stream: string) => records(join(dataDir, "streams", `${stream}.sse`));
  const own = of(`operation/${id}`);
  return {
    own: own.flatMap(({ kind }) => (kind === "output" ? [] : [kind])),
    // Every piece of the output once, each where the one before ends.
    output: own.reduce<string>((whole, { kind, from, text }) => {
      if (kind !== "output") return whole;
      return from === whole.length ? whole + String(text) : `${whole}[a piece at ${String(from)}]`;
    }, ""),
    index: of("operations").flatMap(({ kind, operation }) => (operation === id ? [kind] : [])),
    audit: of("audit").flatMap(({ action, detail, outcome }) =>
      (detail as { operation?: unknown } | undefined)?.operation === id
        ? [`${String(action)}: ${String(outcome)}`]
        : [],
    ),
  };
}

export const wholeRecord = {
  own: ["requested", "settled"],
  output: expect.stringMatching(/^Stopping\.\n(BG1 .*\n)?$/) as string,
  index: ["requested", "settled"],
  audit: ["verb cycle: done"],
};

function records(path: string): { kind: string; [field: string]: unknown }[] {
  const folder = path.slice(0, path.lastIndexOf("/"));
  if (!readdirSync(folder).includes(path.slice(folder.length + 1))) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .map((line) => JSON.parse(line.slice(6)) as { kind: string });
}
