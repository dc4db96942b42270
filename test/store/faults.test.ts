import { execFileSync, spawnSync } from "node:child_process";
import { constants } from "node:fs";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "../../src/server/clock.ts";
import { nodeDisk, type Disk } from "../../src/server/store/files/disk.ts";
import { openFiles, type FilesOptions } from "../../src/server/store/files/files.ts";
import type { Frames, Store } from "../../src/server/store/store.ts";
import { kindOf, notes, replay } from "./contract.ts";
import { held, systemError, watchedDisk } from "./disks.ts";
import { temporaryDirectory } from "./places.ts";

let directory: string;
let stores: Store[];
beforeEach(async () => {
  directory = await temporaryDirectory();
  stores = [];
});
afterEach(async () => {
  for (const store of stores) await store.close();
  await rm(directory, { recursive: true });
});

async function open(options: Partial<FilesOptions> = {}): Promise<Store> {
  const store = await openFiles({ directory, ...options });
  stores.push(store);
  return store;
}

/** What one stream's file is asked for, in the test's hand; everything else passes. */
function diskFor(stream: string, on: Partial<Record<keyof Disk, () => Promise<void> | undefined>>): Disk {
  return watchedDisk((call, path) => (path.endsWith(`${stream}.sse`) ? on[call]?.() : undefined));
}

describe("durable before visible", () => {
  test("nobody sees a record before the flush has answered, and then everybody does", async () => {
    const flushed = held();
    const flushing = held();
    let flushes = 0;
    const disk = diskFor("a", {
      fdatasync() {
        // The first is that of the opening.
        if (++flushes !== 2) return undefined;
        flushing.release();
        return flushed.promise;
      },
    });
    const store = await open({ disk });
    const seen: Frames[] = [];
    store.watch("a", (frames) => seen.push(frames));
    let acknowledged = false;
    const appended = store.append("a", notes(1)).then((ids) => ((acknowledged = true), ids));
    await flushing.promise;
    expect((await stat(join(directory, "streams", "a.sse"))).size).toBeGreaterThan(0);
    expect(await store.head("a")).toBe(-1);
    expect(await store.readFrames("a", -1, 100)).toBeNull();
    expect(seen).toEqual([]);
    expect(acknowledged).toBe(false);
    flushed.release();
    expect(await appended).toEqual({ firstId: 0, lastId: 0 });
    expect(seen.map((frames) => frames.lastId)).toEqual([0]);
    expect(await store.head("a")).toBe(0);
  });

  test("what arrives while a commit is in flight is one commit", async () => {
    const flushing = held();
    const flushed = held();
    let writes = 0;
    const disk = diskFor("a", {
      write: () => void writes++,
      fdatasync() {
        if (writes !== 1) return undefined;
        flushing.release();
        return flushed.promise;
      },
    });
    const store = await open({ disk });
    const seen: Frames[] = [];
    store.watch("a", (frames) => seen.push(frames));
    const first = store.append("a", notes(1));
    await flushing.promise;
    const rest = Array.from({ length: 64 }, () => store.append("a", notes(2)));
    flushed.release();
    await Promise.all([first, ...rest]);
    expect(writes).toBe(2);
    expect(seen.map((frames) => [frames.firstId, frames.lastId])).toEqual([
      [0, 0],
      [1, 128],
    ]);
  });

  test("a new file is acknowledged only after its directories were flushed", async () => {
    const calls: string[] = [];
    const disk = watchedDisk((call, path) => void calls.push(`${call} ${path.slice(directory.length + 1)}`));
    const store = await open({ disk });
    await store.append("session/a", notes(1));
    const written = calls.indexOf("write streams/session/a.sse");
    expect(calls.indexOf("fsync ")).toBeGreaterThan(0);
    expect(calls.indexOf("fsync streams")).toBeGreaterThan(0);
    expect(calls.indexOf("fsync streams/session")).toBeGreaterThan(
      calls.indexOf("open streams/session/a.sse"),
    );
    expect(calls.lastIndexOf("fsync streams/session")).toBeLessThan(written);
    expect(calls.indexOf("fdatasync streams/session/a.sse", written)).toBeGreaterThan(written);
  });

  test("what a killed process had written is flushed before it is shown", async () => {
    const earlier = await open();
    await earlier.append("a", notes(3));
    await earlier.close();
    const calls: string[] = [];
    const store = await open({ disk: diskFor("a", { fdatasync: () => void calls.push("fdatasync") }) });
    expect(await store.head("a")).toBe(2);
    expect(calls).toEqual(["fdatasync"]);
  });
});

describe("a full disk", () => {
  test("for real: appends are refused, nothing is torn, and it goes on when there is space", async ({
    skip,
  }) => {
    const mount = join(directory, "full");
    await mkdir(mount);
    mountTmpfs(mount, "size=512k", skip);
    try {
      const store = await openFiles({ directory: mount });
      let head = -1;
      const fill = async () => {
        for (;;) head = (await store.append("session/a", notes(50))).lastId;
      };
      await expect(fill()).rejects.toMatchObject({
        kind: "unwritable",
        message: expect.stringMatching(/no space is left \(ENOSPC\).*Free some space/) as string,
      });
      expect(await store.freeBytes()).toBeLessThan(20_000);
      expect(await kindOf(store.append("session/a", [{ kind: "note", text: "x".repeat(100_000) }]))).toBe(
        "unwritable",
      );
      expect(await store.head("session/a")).toBe(head);
      const before = await replay(store, "session/a", -1, 65_536);
      execFileSync("mount", ["-o", "remount,size=4m", mount]);
      expect(await store.append("session/a", notes(50))).toEqual({ firstId: head + 1, lastId: head + 50 });
      const after = await replay(store, "session/a", -1, 65_536);
      expect(after.subarray(0, before.length).equals(before)).toBe(true);
      await store.close();
      const told: string[] = [];
      await rm(join(mount, "write-check"));
      execFileSync("sh", ["-c", 'cat /dev/zero > "$1/filler" 2>&1 || true', "sh", mount]);
      const again = await openFiles({ directory: mount, report: (notice) => told.push(notice) });
      expect(told).toEqual([expect.stringMatching(/takes no more: no space is left/)]);
      expect((await replay(again, "session/a", -1, 65_536)).equals(after)).toBe(true);
      await again.close();
    } finally {
      execFileSync("umount", [mount]);
    }
  });

  test("in the middle of a write leaves no torn frame and no gap", async () => {
    let full = false;
    const disk: Disk = {
      ...nodeDisk,
      async write(fd, buffer, position) {
        if (!full) return nodeDisk.write(fd, buffer, position);
        if (buffer.length < 3000) throw systemError("ENOSPC");
        return nodeDisk.write(fd, buffer.subarray(0, buffer.length - 2500), position);
      },
    };
    const store = await open({ disk });
    const seen: number[] = [];
    store.watch("a", (frames) => seen.push(frames.lastId));
    await store.append("a", notes(3));
    const size = (await stat(join(directory, "streams", "a.sse"))).size;
    full = true;
    const answers = await Promise.allSettled([store.append("a", notes(100)), store.append("a", notes(100))]);
    for (const answer of answers) {
      expect(await kindOf(Promise.reject((answer as PromiseRejectedResult).reason as Error))).toBe(
        "unwritable",
      );
    }
    expect((await stat(join(directory, "streams", "a.sse"))).size).toBe(size);
    full = false;
    expect(await store.append("a", notes(1))).toEqual({ firstId: 3, lastId: 3 });
    expect(seen).toEqual([2, 3]);
    expect((await store.read("a", -1, 99)).map((record) => record.id)).toEqual([0, 1, 2, 3]);
  });
});

describe("a failing disk", () => {
  test("after a failed flush the descriptor is not used again, and what could be cut back does not count", async () => {
    const used: number[] = [];
    let fail = false;
    const disk: Disk = {
      ...nodeDisk,
      fdatasync(fd) {
        used.push(fd);
        if (!fail) return nodeDisk.fdatasync(fd);
        fail = false;
        return Promise.reject(systemError("EIO"));
      },
    };
    const opened: number[] = [];
    const counting: Disk = {
      ...disk,
      async open(path, flags, mode) {
        const fd = await disk.open(path, flags, mode);
        if (path.endsWith("a.sse")) opened.push(fd);
        return fd;
      },
    };
    const store = await open({ disk: counting });
    await store.append("a", notes(2));
    fail = true;
    expect(await kindOf(store.append("a", notes(1)))).toBe("unwritable");
    expect(opened).toHaveLength(2);
    expect(opened[1]).not.toBe(opened[0]);
    const poisonedAt = used.length - 2;
    expect(used.slice(poisonedAt + 1)).not.toContain(opened[0]);
    expect(await store.append("a", notes(1))).toEqual({ firstId: 2, lastId: 2 });
    expect((await store.read("a", -1, 9)).map((record) => record.id)).toEqual([0, 1, 2]);
  });

  test("that cannot be cut back either answers unknown, and recovers with ids without gaps", async () => {
    let broken = false;
    const failing = () => (broken ? Promise.reject(systemError("EIO")) : undefined);
    const store = await open({ disk: diskFor("a", { fdatasync: failing, ftruncate: failing }) });
    const seen: number[] = [];
    store.watch("a", (frames) => seen.push(frames.firstId, frames.lastId));
    await store.append("a", notes(2));
    broken = true;
    expect(await kindOf(store.append("a", notes(3)))).toBe("unknown");
    expect(await kindOf(store.append("a", notes(3)))).toBe("unwritable");
    expect((await store.readFrames("a", -1, 100_000))?.lastId).toBe(1);
    broken = false;
    expect(await store.append("a", notes(1))).toEqual({ firstId: 2, lastId: 2 });
    expect(seen).toEqual([0, 1, 2, 2]);
    expect((await store.read("a", -1, 9)).map((record) => record.id)).toEqual([0, 1, 2]);
  });

  test("fails one stream and not the others", async () => {
    const store = await open({ disk: diskFor("a", { write: () => Promise.reject(systemError("EIO")) }) });
    expect(await kindOf(store.append("a", notes(1)))).toBe("unwritable");
    expect(await store.append("b", notes(1))).toEqual({ firstId: 0, lastId: 0 });
  });

  test("that gives back an error on reading says which events", async () => {
    const store = await open({ disk: diskFor("a", {}) });
    await store.append("a", notes(5));
    await store.close();
    let opened = false;
    const again = await open({
      disk: diskFor("a", { read: () => (opened ? Promise.reject(systemError("EIO")) : undefined) }),
    });
    expect(await again.head("a")).toBe(4);
    opened = true;
    await expect(again.readFrames("a", -1, 100)).rejects.toMatchObject({
      kind: "damaged",
      message: expect.stringMatching(/Events 0 to 4 .*EIO/) as string,
    });
    opened = false;
    expect((await again.readFrames("a", -1, 100_000))?.lastId).toBe(4);
  });
});

describe("a hanging disk", () => {
  test("under one stream, or two, holds up no other", async () => {
    const clock = clockInHand();
    const hung = held();
    let hanging = false;
    const flush = () => (hanging ? hung.promise : undefined);
    const disk = watchedDisk((call, path) =>
      call === "fdatasync" && /[ab]\.sse$/.test(path) ? flush() : undefined,
    );
    const store = await open({ disk, clock });
    for (const stream of ["a", "b", "c", "d"]) await store.append(stream, notes(1));
    hanging = true;
    const a = store.append("a", notes(1));
    const b = store.append("b", notes(1));
    const c = store.append("c", notes(1));
    // Both places are taken, until one second has passed.
    await clock.waiting(2);
    clock.passes();
    expect(await c).toEqual({ firstId: 1, lastId: 1 });
    expect(await store.append("d", notes(1))).toEqual({ firstId: 1, lastId: 1 });
    expect((await store.readFrames("a", -1, 100_000))?.lastId).toBe(0);
    hung.release();
    expect(await a).toEqual({ firstId: 1, lastId: 1 });
    expect(await b).toEqual({ firstId: 1, lastId: 1 });
  });

  test("is told as overloaded when more waits than may, and what waited is stored when it answers", async () => {
    const hung = held();
    let hanging = false;
    const disk = diskFor("a", { fdatasync: () => (hanging ? hung.promise : undefined) });
    const store = await open({ disk, queuedBytesMax: 40_000 });
    await store.append("a", notes(1));
    hanging = true;
    const text = "x".repeat(1000);
    const waiting = Array.from({ length: 9 }, () => store.append("a", [{ kind: "note", text }]));
    expect(await kindOf(store.append("a", [{ kind: "note", text }]))).toBe("overloaded");
    expect(await store.append("b", notes(1))).toEqual({ firstId: 0, lastId: 0 });
    hung.release();
    expect((await Promise.all(waiting)).map((ids) => ids.firstId)).toEqual(waiting.map((_, n) => n + 1));
    expect(await store.append("a", notes(1))).toEqual({ firstId: 10, lastId: 10 });
  });

  test("ends the closing in time; what is unknown is called so, and the directory stays taken", async () => {
    const clock = clockInHand();
    const hung = held();
    const hangs = held();
    let hanging = false;
    const disk = diskFor("a", {
      fdatasync() {
        if (!hanging) return undefined;
        hangs.release();
        return hung.promise;
      },
    });
    const store = await openFiles({ directory, disk, clock });
    await store.append("a", notes(1));
    hanging = true;
    const flying = kindOf(store.append("a", notes(1)));
    await hangs.promise;
    const queued = kindOf(store.append("a", notes(1)));
    const closed = kindOf(store.close());
    clock.passes();
    expect([await flying, await queued, await closed]).toEqual(["unknown", "closed", "unknown"]);
    expect(await kindOf(openFiles({ directory }))).toBe("taken");
    hung.release();
  });

  test("does not answer how much is free: that is told in time, and it is not asked again meanwhile", async () => {
    const clock = clockInHand();
    let asked = 0;
    const hung = held();
    const freeBytes = () => (asked++, hung.promise.then(() => 42));
    const store = await open({ clock, disk: { ...nodeDisk, freeBytes } });
    const answers = [kindOf(store.freeBytes()), kindOf(store.freeBytes())];
    clock.passes();
    expect(await Promise.all(answers)).toEqual(["unknown", "unknown"]);
    expect(asked).toBe(1);
    hung.release();
    expect(await store.freeBytes()).toBe(42);
  });
});

describe("a data directory that cannot be used", () => {
  test("because it is read-only is refused with the mend", async ({ skip }) => {
    const mount = join(directory, "readonly");
    await mkdir(mount);
    mountTmpfs(mount, "size=512k,ro", skip);
    try {
      await expect(openFiles({ directory: join(mount, "data") })).rejects.toMatchObject({
        kind: "unwritable",
        message: expect.stringMatching(
          /readonly\/data cannot be used: the file system is read-only.*Mount it writable/,
        ) as string,
      });
      await expect(openFiles({ directory: mount })).rejects.toMatchObject({ kind: "unwritable" });
    } finally {
      execFileSync("umount", [mount]);
    }
  });

  test("because it became read-only while the server ran refuses appends, serves every read, and goes on afterwards", async () => {
    const earlier = await open();
    await earlier.append("old", notes(2));
    await earlier.close();
    let readonly = false;
    const disk = watchedDisk((call, path) =>
      readonly && path.endsWith(".sse") && ["write", "ftruncate"].includes(call)
        ? Promise.reject(systemError("EROFS"))
        : undefined,
    );
    const readonlyDisk: Disk = {
      ...disk,
      open: (path, flags, mode) =>
        readonly && (flags & constants.O_RDWR) !== 0
          ? Promise.reject(systemError("EROFS"))
          : disk.open(path, flags, mode),
    };
    const store = await open({ disk: readonlyDisk });
    await store.append("a", notes(3));
    readonly = true;
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(store.append("a", notes(1))).rejects.toMatchObject({
        kind: "unwritable",
        message: expect.stringMatching(
          /what was stored before is whole: .*read-only.*Mount it writable/,
        ) as string,
      });
    }
    expect((await store.read("a", -1, 9)).map((record) => record.id)).toEqual([0, 1, 2]);
    expect((await store.read("old", -1, 9)).map((record) => record.id)).toEqual([0, 1]);
    expect(await kindOf(store.append("old", notes(1)))).toBe("unwritable");
    readonly = false;
    expect(await store.append("a", notes(1))).toEqual({ firstId: 3, lastId: 3 });
    expect(await store.append("old", notes(1))).toEqual({ firstId: 2, lastId: 2 });
  });

  test("because a file is in its place is refused with the mend", async () => {
    const path = join(directory, "file");
    await writeFile(path, "");
    await expect(openFiles({ directory: path })).rejects.toMatchObject({
      kind: "unwritable",
      message: expect.stringMatching(/is a file, not a directory.*BREAKGLASS_DATA_DIR/) as string,
    });
  });

  test("because it takes no durable write is refused with the mend", async () => {
    const disk = watchedDisk((call) =>
      call === "fdatasync" ? Promise.reject(systemError("EIO")) : undefined,
    );
    await expect(openFiles({ directory, disk })).rejects.toMatchObject({ kind: "unwritable" });
  });

  test("is made when it is not there, for our eyes only", async () => {
    const store = await open({ directory: join(directory, "new", "data") });
    await store.append("session/a", notes(1));
    const mode = async (...path: string[]) =>
      ((await stat(join(directory, "new", ...path))).mode & 0o777).toString(8);
    expect(await mode()).toBe("700");
    expect(await mode("data")).toBe("700");
    expect(await mode("data", "lock.db")).toBe("600");
    expect(await mode("data", "streams", "session")).toBe("700");
    expect(await mode("data", "streams", "session", "a.sse")).toBe("600");
  });
});

describe("open files", () => {
  test("are bounded: the longest unused is closed, and opened again when it is needed", async () => {
    const openNow = new Set<number>();
    let openMax = 0;
    const disk: Disk = {
      ...nodeDisk,
      async open(path, flags, mode) {
        const fd = await nodeDisk.open(path, flags, mode);
        if (path.endsWith(".sse")) openNow.add(fd);
        openMax = Math.max(openMax, openNow.size);
        return fd;
      },
      close(fd) {
        openNow.delete(fd);
        return nodeDisk.close(fd);
      },
    };
    const store = await open({ disk, openStreamsMax: 4 });
    const names = Array.from({ length: 20 }, (_, n) => `session/${n}`);
    for (let round = 0; round < 3; round++) {
      for (const name of names) await store.append(name, notes(1));
    }
    for (const name of names) expect(await store.head(name)).toBe(2);
    expect(openMax).toBe(4);
  });

  test("are refused beyond the bound when all are in use, and watchers cost none", async () => {
    const hung = held();
    let hanging = false;
    const disk = diskFor("a", { fdatasync: () => (hanging ? hung.promise : undefined) });
    const store = await open({ disk, openStreamsMax: 1 });
    const seen: number[] = [];
    for (let n = 0; n < 50; n++) store.watch(`session/${n}`, () => seen.push(n));
    await store.append("a", notes(1));
    hanging = true;
    const appended = store.append("a", notes(1));
    expect(await kindOf(store.append("session/7", notes(1)))).toBe("overloaded");
    hung.release();
    await appended;
    await store.append("session/7", notes(1));
    expect(seen).toEqual([7]);
  });
});

/** A clock that stands still: `passes` rings everything that waits. */
function clockInHand(): Clock & { passes(): void; waiting(count: number): Promise<void> } {
  const bells = new Set<() => void>();
  return {
    now: () => new Date(0),
    after(_, ring) {
      bells.add(ring);
      return () => bells.delete(ring);
    },
    passes() {
      for (const ring of bells) {
        bells.delete(ring);
        ring();
      }
    },
    async waiting(count) {
      while (bells.size < count) await new Promise(setImmediate);
    },
  };
}

/** Root can mount on most machines; elsewhere the test is skipped, and with CI=true it fails. */
function mountTmpfs(path: string, options: string, skip: (why: string) => void): void {
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "none", path], {
    encoding: "utf8",
  });
  if (status === 0) return;
  if (process.env["CI"] === "true") throw new Error(`No tmpfs could be mounted: ${stderr}`);
  skip(`no tmpfs could be mounted here: ${stderr}`);
}
