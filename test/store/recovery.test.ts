import { appendFile, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFiles } from "../../src/server/store/files/files.ts";
import { encodeBody, encodeFrame } from "../../src/server/store/files/frame.ts";
import type { Store } from "../../src/server/store/store.ts";
import { kindOf, notes, replay } from "./contract.ts";
import { temporaryDirectory } from "./places.ts";

const stream = "session/a";
let directory: string;
let path: string;
let told: string[];

beforeEach(async () => {
  directory = await temporaryDirectory();
  await mkdir(join(directory, "streams", "session"), { recursive: true });
  path = join(directory, "streams", "session", "a.sse");
  told = [];
});
afterEach(() => rm(directory, { recursive: true }));

/** Frames as the store writes them: note `n` has the id `ids[n]`. */
function framesOf(ids: readonly number[]): Buffer[] {
  const bodies = notes(ids.length).map(encodeBody);
  return ids.map((id, n) => encodeFrame(id, bodies[n]!));
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, id) => id);
}

/** Opens the store over a file with this content and closes it afterwards. */
async function over<T>(content: Buffer, use: (store: Store) => Promise<T>): Promise<T> {
  await writeFile(path, content);
  const store = await openFiles({ directory, report: (notice) => told.push(notice) });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

describe("a torn tail", () => {
  test("is cut at whichever byte of the last frame the write ended, and appending goes on behind it", async () => {
    const frames = framesOf(upTo(6));
    const whole = Buffer.concat(frames.slice(0, 5));
    for (let torn = 0; torn < frames[5]!.length; torn++) {
      await over(Buffer.concat([whole, frames[5]!.subarray(0, torn)]), async (store) => {
        expect(await store.head(stream)).toBe(4);
        expect((await stat(path)).size).toBe(whole.length);
        expect((await replay(store, stream, -1, 4096)).equals(whole)).toBe(true);
        expect(await store.append(stream, [{ kind: "next" }])).toEqual({ firstId: 5, lastId: 5 });
      });
      expect(told.length, `torn at ${torn}`).toBe(torn === 0 ? 0 : 1);
      told = [];
    }
  });

  test("in the only frame leaves an empty stream", async () => {
    const [frame] = framesOf([0]);
    await over(frame!.subarray(0, -1), async (store) => {
      expect(await store.head(stream)).toBe(-1);
      expect(await store.readFrames(stream, -1, 100)).toBeNull();
    });
  });

  test("of zeros, as a power cut can leave it, is cut", async () => {
    const whole = Buffer.concat(framesOf(upTo(3)));
    await over(Buffer.concat([whole, Buffer.alloc(3_000_000)]), async (store) =>
      expect(await store.head(stream)).toBe(2),
    );
    expect((await stat(path)).size).toBe(whole.length);
    expect(told[0]).toMatch(/3000000 bytes of an unfinished write behind event 2 are kept in .* and cut off/);
  });

  test("with a flipped bit anywhere in the last frame is cut, and kept aside: it may have been acknowledged", async () => {
    const frames = framesOf(upTo(3));
    const whole = Buffer.concat(frames);
    for (let at = whole.length - frames[2]!.length; at < whole.length; at++) {
      const damaged = flipped(whole, at);
      await over(damaged, async (store) => expect(await store.head(stream), `byte ${at}`).toBe(1));
      // Without the newlines at its end a frame looks like one that was not written to its end.
      if (at >= whole.length - 2) continue;
      const kept = await readFile(`${path}.cut`);
      expect(
        kept.subarray(-frames[2]!.length).equals(damaged.subarray(-frames[2]!.length)),
        `byte ${at}`,
      ).toBe(true);
    }
  });

  test("of a write that was not finished is not kept", async () => {
    await over(Buffer.concat(framesOf(upTo(3))).subarray(0, -5), (store) => store.head(stream));
    await expect(stat(`${path}.cut`)).rejects.toThrow("ENOENT");
  });
});

describe("damage in the middle", () => {
  test("at whichever byte of a frame is told, never served and never cut, and what is around it is served", async () => {
    const frames = framesOf(upTo(5));
    const whole = Buffer.concat(frames);
    const from = Buffer.concat(frames.slice(0, 2)).length;
    for (let at = from; at < from + frames[2]!.length; at++) {
      const damaged = flipped(whole, at);
      await over(damaged, async (store) => {
        expect(await store.head(stream), `byte ${at}`).toBe(4);
        const before = await store.readFrames(stream, -1, 100_000);
        expect([before?.firstId, before?.lastId]).toEqual([0, 1]);
        expect(before!.bytes.equals(whole.subarray(0, from))).toBe(true);
        expect(await kindOf(store.readFrames(stream, 1, 100_000))).toBe("damaged");
        expect(await kindOf(store.read(stream, -1, 100))).toBe("damaged");
        expect((await replay(store, stream, 2, 100_000)).equals(Buffer.concat(frames.slice(3)))).toBe(true);
      });
      expect((await readFile(path)).equals(damaged)).toBe(true);
      expect(told).toHaveLength(1);
      expect(told[0]).toMatch(/events 2 to 2 .* do not match their checksums/);
      told = [];
    }
  });

  test("does not keep the stream from being written", async () => {
    const whole = Buffer.concat(framesOf(upTo(5)));
    await over(flipped(whole, 40), async (store) => {
      expect(await store.append(stream, [{ kind: "next" }])).toEqual({ firstId: 5, lastId: 5 });
      expect((await store.read(stream, 3, 9)).map((record) => record.id)).toEqual([4, 5]);
    });
  });

  test("in two places is told for both", async () => {
    const frames = framesOf(upTo(9));
    const bytes = flipped(flipped(Buffer.concat(frames), 20), Buffer.concat(frames.slice(0, 6)).length + 30);
    await over(bytes, async (store) => {
      expect(await kindOf(store.readFrames(stream, -1, 100))).toBe("damaged");
      expect((await store.read(stream, 0, 5)).map((record) => record.id)).toEqual([1, 2, 3, 4, 5]);
      expect(await kindOf(store.readFrames(stream, 5, 100))).toBe("damaged");
      expect((await store.read(stream, 6, 5)).map((record) => record.id)).toEqual([7, 8]);
    });
    expect(told).toHaveLength(2);
  });

  test("of many frames and megabytes is told as one stretch", async () => {
    const frames = framesOf(upTo(100));
    const garbage = Buffer.alloc(5_000_000, "\nid: 7\ndata: x\n\n: 0123");
    const bytes = Buffer.concat([...frames.slice(0, 10), garbage, ...frames.slice(60)]);
    await over(bytes, async (store) => {
      expect(await store.head(stream)).toBe(99);
      for (const after of [9, 30, 58])
        expect(await kindOf(store.readFrames(stream, after, 100))).toBe("damaged");
      expect((await store.read(stream, 59, 100)).map((record) => record.id)).toEqual(upTo(100).slice(60));
    });
    expect(told[0]).toMatch(/events 10 to 59 /);
  });

  test("that is a missing frame is told", async () => {
    await over(Buffer.concat(framesOf([0, 1, 3, 4])), async (store) => {
      expect(await kindOf(store.readFrames(stream, 1, 100))).toBe("damaged");
      expect((await store.read(stream, 2, 9)).map((record) => record.id)).toEqual([3, 4]);
    });
    expect(told[0]).toMatch(/events 2 to 2 /);
  });

  test("that is a missing beginning is told", async () => {
    await over(Buffer.concat(framesOf([5, 6])), async (store) => {
      expect(await kindOf(store.readFrames(stream, -1, 100))).toBe("damaged");
      expect(await store.head(stream)).toBe(6);
    });
  });

  test("that is a doubled frame is told in the log, and no event is shown twice or lost", async () => {
    const [a, b, c] = framesOf(upTo(3));
    await over(Buffer.concat([a!, b!, b!, a!, c!]), async (store) => {
      expect((await store.read(stream, -1, 9)).map((record) => record.id)).toEqual([0, 1, 2]);
      expect((await replay(store, stream, -1, 4096)).equals(Buffer.concat([a!, b!, c!]))).toBe(true);
    });
    expect(told[0]).toMatch(/no event is missing/);
  });

  test("that happens while the server runs is told, in the part that it hits", async () => {
    const frames = framesOf(upTo(4000));
    const whole = Buffer.concat(frames);
    await writeFile(path, whole);
    const store = await openFiles({ directory });
    try {
      expect(await store.head(stream)).toBe(3999);
      await writeFile(path, flipped(whole, whole.length - 1000));
      const first = await store.readFrames(stream, -1, 262_144);
      expect(first!.bytes.equals(whole.subarray(0, first!.bytes.length))).toBe(true);
      expect(await kindOf(replay(store, stream, -1, 262_144))).toBe("damaged");
    } finally {
      await store.close();
    }
  });
});

test("a file larger than any buffer is verified in steps, frames of any length among it", async () => {
  const long = [3_000_000, 900_000, 10, 8_000_000, 262_000, 262_144, 1].map((length) => ({
    kind: "text",
    text: "x".repeat(length),
  }));
  const bodies = [...notes(5000), ...long, ...notes(5000)];
  const whole = Buffer.concat(bodies.map((body, id) => encodeFrame(id, encodeBody(body))));
  await over(whole, async (store) => {
    expect(await store.head(stream)).toBe(bodies.length - 1);
    expect((await replay(store, stream, -1, 262_144)).equals(whole)).toBe(true);
  });
  expect(told).toEqual([]);
});

test("recovery is the same however often it is done", async () => {
  const whole = Buffer.concat(framesOf(upTo(20)));
  const damaged = Buffer.concat([flipped(whole, 100), Buffer.from(": 0123")]);
  const first = await over(damaged, (store) => store.head(stream));
  const content = await readFile(path);
  expect(await over(content, (store) => store.head(stream))).toBe(first);
  expect((await readFile(path)).equals(content)).toBe(true);
});

test("what another hand appends is checked like everything else", async () => {
  await over(Buffer.concat(framesOf(upTo(2))), (store) => store.head(stream));
  await appendFile(path, 'id: 2\ndata: {"kind":"forged","id":2}\n\n');
  await over(await readFile(path), async (store) => expect(await store.head(stream)).toBe(1));
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1;
  return copy;
}
