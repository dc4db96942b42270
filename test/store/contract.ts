import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StoreError, type Body, type Frames, type Store } from "../../src/server/store/store.ts";

/** Where one record lies: opened again, it is the same record. */
export interface Place {
  open(): Promise<Store>;
  remove(): Promise<void>;
}

/** What every Store keeps, whatever it is made of. */
export function storeContract(name: string, makePlace: () => Promise<Place>): void {
  describe(`store contract: ${name}`, () => {
    let place: Place;
    let store: Store;
    beforeEach(async () => {
      place = await makePlace();
      store = await place.open();
    });
    afterEach(async () => {
      await store.close();
      await place.remove();
    });

    test("ids count from 0 without gaps, each stream for itself", async () => {
      expect(await store.append("session/a", notes(2))).toEqual({ firstId: 0, lastId: 1 });
      expect(await store.append("session/a", notes(3))).toEqual({ firstId: 2, lastId: 4 });
      expect(await store.append("catalogue", notes(1))).toEqual({ firstId: 0, lastId: 0 });
      expect(await store.head("session/a")).toBe(4);
      expect(await store.head("catalogue")).toBe(0);
    });

    test("what was appended is read back, with its id, as it was", async () => {
      const bodies: Body[] = [
        { kind: "text", text: "two\nlines\r\n\u2028 and \0 and \ud800 and 🚑" },
        { kind: "", 7: "a key like a number", "": null, deep: [{ a: [true, 1.5e300] }] },
      ];
      await store.append("session/a", bodies);
      expect(await store.read("session/a", -1, 10)).toEqual(bodies.map((body, id) => ({ ...body, id })));
    });

    test("a frame is a server-sent event with kind and id in front", async () => {
      await store.append("session/a", [{ text: "x", kind: "text" }]);
      const frames = await store.readFrames("session/a", -1, 1024);
      expect(frames?.bytes.toString()).toMatch(
        /^: [0-9a-f]{8}\nid: 0\ndata: \{"kind":"text","id":0,"text":"x"\}\n\n$/,
      );
    });

    test("a body that is changed after the call is stored as it was", async () => {
      const body = { kind: "text", text: "before" };
      const appended = store.append("session/a", [body]);
      body.text = "after";
      await appended;
      expect(await store.read("session/a", -1, 1)).toEqual([{ kind: "text", text: "before", id: 0 }]);
    });

    test("a replay in slices of any size gives every byte once, in whole records", async () => {
      await store.append("session/a", notes(2000));
      const whole = await replay(store, "session/a", -1, Infinity);
      for (const bytesMax of [100, 4096, 100_000, 1_000_000]) {
        const slices = await replaySlices(store, "session/a", -1, bytesMax);
        expect(Buffer.concat(slices.map((slice) => slice.bytes)).equals(whole)).toBe(true);
        const tooLong = slices.filter(
          (slice) => slice.bytes.length > bytesMax && slice.lastId > slice.firstId,
        );
        expect(tooLong).toEqual([]);
      }
    });

    test("a replay begins behind any id", async () => {
      await store.append("session/a", notes(2500));
      const whole = await replay(store, "session/a", -1, 65_536);
      for (const after of [-7, -1, 0, 1, 999, 1000, 2498]) {
        const rest = await replay(store, "session/a", after, 65_536);
        expect(rest.toString().startsWith(`: `)).toBe(true);
        expect(rest.toString().slice(10)).toMatch(new RegExp(`^\\nid: ${Math.max(after, -1) + 1}\\n`));
        expect(whole.subarray(whole.length - rest.length).equals(rest)).toBe(true);
      }
      expect(await store.readFrames("session/a", 2499, 65_536)).toBeNull();
      expect(await store.readFrames("session/a", 99_999, 65_536)).toBeNull();
      expect((await store.read("session/a", 2400, 5)).map((record) => record.id)).toEqual([
        2401, 2402, 2403, 2404, 2405,
      ]);
    });

    test("what was read stays as it is while more is appended", async () => {
      await store.append("session/a", notes(10));
      const before = await store.readFrames("session/a", -1, 1_000_000);
      const copy = Buffer.from(before!.bytes);
      await store.append("session/a", notes(10));
      expect(before!.bytes.equals(copy)).toBe(true);
      expect((await store.readFrames("session/a", 9, 1_000_000))?.firstId).toBe(10);
    });

    test("appends at the same time keep their order", async () => {
      const asked = Array.from({ length: 500 }, (_, n) => store.append("session/a", [{ kind: "note", n }]));
      const ids = (await Promise.all(asked)).map((answer) => answer.firstId);
      expect(ids).toEqual(asked.map((_, n) => n));
      expect((await store.read("session/a", -1, 1000)).map((record) => record["n"])).toEqual(ids);
    });

    test("of two who expect the same head one is told that it moved", async () => {
      await store.append("session/a", notes(1), { expectedHead: -1 });
      const answers = await Promise.allSettled([
        store.append("session/a", [{ kind: "note", by: "ana" }], { expectedHead: 0 }),
        store.append("session/a", [{ kind: "note", by: "bob" }], { expectedHead: 0 }),
      ]);
      expect(answers[0]).toEqual({ status: "fulfilled", value: { firstId: 1, lastId: 1 } });
      expect(await kindOf(Promise.reject((answers[1] as PromiseRejectedResult).reason as Error))).toBe(
        "head_moved",
      );
      expect((await store.read("session/a", 0, 9)).map((record) => record["by"])).toEqual(["ana"]);
      expect(await kindOf(store.append("session/new", notes(1), { expectedHead: 0 }))).toBe("head_moved");
      expect(await store.head("session/new")).toBe(-1);
    });

    test("watchers hear of every record once, in order, when it can be read, and share the bytes", async () => {
      const heard: Frames[] = [];
      const heardToo: Frames[] = [];
      const readable: Promise<unknown>[] = [];
      const end = store.watch("session/a", (frames) => {
        heard.push(frames);
        readable.push(
          store.head("session/a").then((head) => expect(head).toBeGreaterThanOrEqual(frames.lastId)),
        );
      });
      store.watch("session/a", (frames) => heardToo.push(frames));
      store.watch("session/b", () => expect.unreachable("another stream was not appended to"));
      await Promise.all(Array.from({ length: 200 }, () => store.append("session/a", notes(2))));
      await Promise.all(readable);
      expect(heard[0]!.firstId).toBe(0);
      expect(heard.at(-1)!.lastId).toBe(399);
      for (const [at, frames] of heard.entries()) {
        expect(frames.firstId).toBe((heard[at - 1]?.lastId ?? -1) + 1);
        expect(heardToo[at]!.bytes).toBe(frames.bytes);
      }
      expect(
        Buffer.concat(heard.map((frames) => frames.bytes)).equals(await replay(store, "session/a", -1, 4096)),
      ).toBe(true);
      end();
      await store.append("session/a", notes(1));
      expect(heard.at(-1)!.lastId).toBe(399);
      expect(heardToo.at(-1)!.lastId).toBe(400);
    });

    test("a stream that does not exist is empty, and asking for it does not make it", async () => {
      expect(await store.head("session/none")).toBe(-1);
      expect(await store.readFrames("session/none", -1, 100)).toBeNull();
      expect(await store.read("session/none", -1, 100)).toEqual([]);
      expect(await store.list("")).toEqual([]);
    });

    test("streams are listed by the beginning of their names, sorted", async () => {
      for (const stream of ["session/b", "operation/x", "audit", "session/a", "session/ab", "sessions"]) {
        await store.append(stream, notes(1));
      }
      expect(await store.list("session/")).toEqual(["session/a", "session/ab", "session/b"]);
      expect(await store.list("session/a")).toEqual(["session/a", "session/ab"]);
      expect(await store.list("au")).toEqual(["audit"]);
      expect(await store.list("")).toEqual([
        "audit",
        "operation/x",
        "session/a",
        "session/ab",
        "session/b",
        "sessions",
      ]);
      expect(await store.list("nothing/")).toEqual([]);
    });

    test("after closing and opening, everything is there and ids go on", async () => {
      await store.append("session/a", notes(1200));
      const before = await replay(store, "session/a", -1, 65_536);
      await store.close();
      store = await place.open();
      expect(await store.head("session/a")).toBe(1199);
      expect((await replay(store, "session/a", -1, 65_536)).equals(before)).toBe(true);
      expect(await store.append("session/a", notes(1))).toEqual({ firstId: 1200, lastId: 1200 });
    });

    test("closing settles what is under way, and then everything is refused", async () => {
      const appended = store.append("session/a", notes(1));
      await store.close();
      expect(await appended).toEqual({ firstId: 0, lastId: 0 });
      expect(await kindOf(store.append("session/a", notes(1)))).toBe("closed");
      expect(await kindOf(store.head("session/a"))).toBe("closed");
      expect(await kindOf(store.readFrames("session/a", -1, 100))).toBe("closed");
      expect(await kindOf(store.list(""))).toBe("closed");
      await store.close();
    });

    test("names that are no names are refused", async () => {
      const bad = [
        "",
        "A",
        "a b",
        "../a",
        "a/..",
        "a/../b",
        "/a",
        "a/",
        "a//b",
        "a/b/c",
        "a\0",
        "a.sse",
        "-a",
        "a\n",
        "x".repeat(101),
      ];
      for (const stream of bad) {
        await expect(store.append(stream, notes(1)), JSON.stringify(stream)).rejects.toThrow(TypeError);
        await expect(store.readFrames(stream, -1, 1), JSON.stringify(stream)).rejects.toThrow(TypeError);
      }
      expect(await store.list("")).toEqual([]);
    });

    test("what is no record is refused and stores nothing", async () => {
      const circle: Record<string, unknown> = {};
      circle["self"] = circle;
      const bad: Body[] = [
        { kind: "note", id: 7 },
        { kind: "note", circle },
        { kind: "note", n: 1n },
        {} as Body,
      ];
      for (const body of bad)
        await expect(store.append("session/a", [{ kind: "fine" }, body])).rejects.toThrow(TypeError);
      await expect(store.append("session/a", [])).rejects.toThrow(TypeError);
      await expect(
        store.append("session/a", [{ kind: "huge", text: "x".repeat(17 * 1024 * 1024) }]),
      ).rejects.toThrow(RangeError);
      expect(await store.head("session/a")).toBe(-1);
    });

    test("a record of 8 MiB is stored among small ones and read back", async () => {
      const text = "\u00e9".repeat(4 * 1024 * 1024);
      await store.append("session/a", [{ kind: "note" }, { kind: "big", text }, { kind: "note" }]);
      await store.close();
      store = await place.open();
      const slices = await replaySlices(store, "session/a", -1, 262_144);
      expect(slices.map((slice) => [slice.firstId, slice.lastId])).toEqual([
        [0, 0],
        [1, 1],
        [2, 2],
      ]);
      expect((await store.read("session/a", 0, 1))[0]?.["text"]).toBe(text);
    });

    test("free space is told", async () => {
      expect(await store.freeBytes()).toBeGreaterThan(0);
    });
  });
}

export function notes(count: number): Body[] {
  return Array.from({ length: count }, (_, n) => ({ kind: "note", n, text: "x".repeat((n * 37) % 211) }));
}

async function replaySlices(
  store: Store,
  stream: string,
  after: number,
  bytesMax: number,
): Promise<Frames[]> {
  const slices: Frames[] = [];
  let last = after;
  for (;;) {
    const frames = await store.readFrames(stream, last, bytesMax);
    if (frames === null) return slices;
    expect(frames.firstId).toBe(Math.max(last, -1) + 1);
    slices.push(frames);
    last = frames.lastId;
  }
}

export async function replay(store: Store, stream: string, after: number, bytesMax: number): Promise<Buffer> {
  return Buffer.concat((await replaySlices(store, stream, after, bytesMax)).map((slice) => slice.bytes));
}

/** The kind of the StoreError with which `work` rejects; anything else is thrown on. */
export async function kindOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof StoreError) return error.kind;
    throw error;
  }
  return "nothing was thrown";
}
