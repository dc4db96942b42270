import * as fs from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeDisk } from "../src/server/store/files/disk.ts";
import { openFiles } from "../src/server/store/files/files.ts";
import type { Body, Store } from "../src/server/store/store.ts";

/** Milliseconds, beside the same bytes through a bare write and fdatasync, in the same run and on the same disk. */
export interface AppendFigures {
  readonly writers: number;
  readonly p50: number;
  readonly p99: number;
  readonly baselineP50: number;
  readonly baselineP99: number;
}

/** Milliseconds, medians; the baseline reads the same file in the same slices and does nothing with them. */
interface ReplayFigures {
  readonly events: number;
  readonly bytes: number;
  /** Opening and verifying the file, once per process and stream. */
  readonly firstOpening: number;
  readonly replay: number;
  readonly baseline: number;
  /** Fifty who replay the first tenth at once, all of them together. */
  readonly fiftyReplayTenth: number;
}

const sliceBytes = 256 * 1024;
const rounds = 9;

/** `where` decides which disk is measured: a temporary directory may be in memory. */
export async function appendLatency(
  writers: number,
  appendsEach: number,
  where = tmpdir(),
): Promise<AppendFigures> {
  return inDirectory(where, async (directory) => {
    const baseline = await bareAppends(join(directory, "bare"), Math.min(appendsEach, 500));
    const store = await openFiles({ directory: join(directory, "data") });
    await store.append("session/bench", [event(0)]);
    const took: number[] = [];
    const write = async () => {
      for (let n = 0; n < appendsEach; n++) {
        const from = performance.now();
        await store.append("session/bench", [event(n)]);
        took.push(performance.now() - from);
      }
    };
    await Promise.all(Array.from({ length: writers }, write));
    await store.close();
    return {
      writers,
      p50: quantile(took, 0.5),
      p99: quantile(took, 0.99),
      baselineP50: quantile(baseline, 0.5),
      baselineP99: quantile(baseline, 0.99),
    };
  });
}

export async function replayTime(events = 100_000, where = tmpdir()): Promise<ReplayFigures> {
  return inDirectory(where, async (directory) => {
    const store = await openFiles({ directory });
    for (let n = 0; n < events; n += 1000) {
      await store.append(
        "session/bench",
        Array.from({ length: Math.min(1000, events - n) }, (_, at) => event(n + at)),
      );
    }
    await store.close();
    const path = join(directory, "streams", "session", "bench.sse");
    const again = await openFiles({ directory });
    const firstOpening = await timed(() => again.head("session/bench"));
    const replays: number[] = [];
    const baselines: number[] = [];
    const fifties: number[] = [];
    for (let round = 0; round < rounds; round++) {
      baselines.push(await timed(() => bareReplay(path)));
      replays.push(await timed(() => replay(again, events - 1)));
      fifties.push(
        await timed(() => Promise.all(Array.from({ length: 50 }, () => replay(again, events / 10)))),
      );
    }
    await again.close();
    return {
      events,
      bytes: fs.statSync(path).size,
      firstOpening,
      replay: quantile(replays, 0.5),
      baseline: quantile(baselines, 0.5),
      fiftyReplayTenth: quantile(fifties, 0.5),
    };
  });
}

/** About 270 bytes on disk, as most events of a session have. */
function event(n: number): Body {
  return {
    kind: "text",
    at: "2026-11-20T10:00:00.000Z",
    turn: "0b0e6e0e-0000-4000-8000-000000000000",
    text: `${n} `.padEnd(127, "x"),
  };
}

async function replay(store: Store, lastId: number): Promise<void> {
  let after = -1;
  while (after < lastId) {
    const frames = await store.readFrames("session/bench", after, sliceBytes);
    if (frames === null) return;
    after = frames.lastId;
  }
}

async function bareReplay(path: string): Promise<void> {
  const fd = await nodeDisk.open(path, fs.constants.O_RDONLY);
  for (let at = 0, got = 1; got > 0; at += got)
    got = await nodeDisk.read(fd, Buffer.allocUnsafeSlow(sliceBytes), at);
  await nodeDisk.close(fd);
}

async function bareAppends(path: string, count: number): Promise<number[]> {
  const fd = await nodeDisk.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
  const bytes = Buffer.alloc(270, "x");
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const from = performance.now();
    await nodeDisk.write(fd, bytes, n * bytes.length);
    await nodeDisk.fdatasync(fd);
    took.push(performance.now() - from);
  }
  await nodeDisk.close(fd);
  return took;
}

async function inDirectory<T>(where: string, work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(where, "breakglass-bench-"));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
