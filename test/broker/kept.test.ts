import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ExecSettled } from "../../src/protocol/events.ts";
import { readKept } from "../../src/server/broker/kept.ts";
import { Redacting } from "../../src/server/broker/redacting.ts";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import { brokerStage, shim, type BrokerStage } from "./stage.ts";

// Real commands with megabytes of output; this ends what hangs.
vi.setConfig({ testTimeout: 120_000 });

let stage: BrokerStage;

beforeEach(async () => {
  stage = await brokerStage();
});
afterEach(() => stage.close());

const settled = (): ExecSettled[] =>
  stage.events.filter((event): event is ExecSettled => event.kind === "exec" && event.phase === "settled");

async function kept(n = 0): Promise<string | null> {
  const texts = await readKept(stage.store, stage.id, n);
  return texts === null ? null : (await Readable.from(texts).toArray()).join("");
}

/** The stage again, over a store that does something else. */
async function over(store: (files: Store) => Partial<Store>): Promise<void> {
  await stage.close();
  stage = await brokerStage({ store });
}

test("what an excerpt does not show is kept whole, and the record says where", async () => {
  const ran = await shim(stage.door, ["devvm", "seq 100000; echo done >&2"]);
  expect(ran.code).toBe(0);
  const bytes = ran.stdout.length + 5;
  expect(settled()[0]!.cut).toEqual({ bytes, whole: `/api/session/${stage.id}/exec/0` });
  const text = await kept();
  expect(text?.replace("done\n", "")).toBe(ran.stdout.toString());
  expect(text).toContain("done\n");
});

test("what an excerpt shows whole is not kept besides", async () => {
  await shim(stage.door, ["devvm", "seq 1000"]);
  expect(settled()[0]!.cut).toBeUndefined();
  expect(await kept()).toBeNull();
});

test("of a long output the beginning and the end are kept, and what lies between is counted", async () => {
  const ran = await shim(stage.door, ["devvm", "seq 2000000"]);
  const all = ran.stdout.toString();
  const text = (await kept())!;
  const [, first = "", left, last = ""] = /^([^[]*)\n\[(\d+) bytes left out\]\n([^[]*)$/.exec(text) ?? [];
  expect(all.startsWith(first)).toBe(true);
  expect(all.endsWith(last)).toBe(true);
  expect(first.length).toBeGreaterThan(3_000_000);
  expect(last.length).toBeGreaterThan(1_000_000);
  // What stands there and what was left out are all of it, but for the line that the cut went through.
  const total = first.length + Number(left) + last.length;
  expect(all.length - total).toBeGreaterThanOrEqual(0);
  expect(all.length - total).toBeLessThan(1_024);
});

test("escapes, markup and text of both directions are kept as they came", async () => {
  const line = "\u001b[31mred\u001b[0m <script>alert(1)</script> \u202egnp.exe\u202c אבג a\u0000b";
  const input = Buffer.from(`${line}\n`.repeat(1_000));
  const command = "cat; : '\u202e <b>\u001b[2J'";
  const ran = await shim(stage.door, ["devvm", command], { input });
  expect(ran.stdout.equals(input)).toBe(true);
  expect(await kept()).toBe(input.toString());
  expect(settled()[0]).toMatchObject({ command, excerpt: expect.stringContaining(line) });
});

test("secrets are not kept, wherever the pieces that they came in were torn", async () => {
  const key = [
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    ...Array.from({ length: 40 }, () => "QyNTUxOQAAACBh0vZ".repeat(4)),
    "-----END OPENSSH PRIVATE KEY-----",
  ].join("\n");
  const filler = "nothing of note\n".repeat(2_000);
  const torn = [
    ["printf 'password=hunter", "2hunter2\\n'"],
    ["printf 'Authorization: Bearer abcdefgh", "ijklmnopqrstuvwxyz012345\\n'"],
  ].map(([a, b]) => `${a}'; sleep 0.1; printf '${b}`);
  const input = Buffer.from(`${filler}${key}\n${filler}`);
  await shim(stage.door, ["devvm", `${torn.join("; ")}; cat`], { input });
  const text = (await kept())!;
  expect(text).toContain("password=[redacted]");
  expect(text.match(/nothing of note/g)).toHaveLength(4_000);
  for (const secret of ["hunter", "ijklmn", "QyNTUx"]) expect(text).not.toContain(secret);
});

test("a key that the cut goes through leaves nothing of itself at the beginning of the end", async () => {
  const lines = "QyNTUxOQAAACBh0vZ".repeat(4);
  const key = ["-----BEGIN RSA PRIVATE KEY-----", ...Array.from({ length: 800 }, () => lines)].join("\n");
  const end = "-----END RSA PRIVATE KEY-----\nlast\n";
  // The last MiB begins in the middle of the key, and so do the last 8 KiB of the excerpt.
  for (const [n, rest] of [1024 * 1024 - 27_000, 1_000].entries()) {
    const input = Buffer.from(
      `${"first\n".repeat(800_000)}${key}\n${end}${"x".repeat(60)}\n`.padEnd(10) + "y\n".repeat(rest / 2),
    );
    await shim(stage.door, ["devvm", "cat"], { input });
    expect(await kept(n)).not.toContain("QyNTUx");
    expect(settled()[n]!.excerpt).not.toContain("QyNTUx");
  }
});

test("pieces of every size give the same text, and none of it twice", () => {
  const secret = "api_key=abcdefghijklmnopqrstuvwxyz";
  const text = Buffer.from(`ä€😀 ${secret} ende\n`.repeat(2_000) + `x${"é".repeat(200_000)}${secret} tail`);
  const shown = [257, 1_000, 65_536].map((size) => {
    const redacting = new Redacting();
    let out = "";
    for (let at = 0; at < text.length; at += size) out += redacting.take(text.subarray(at, at + size));
    return out + redacting.end();
  });
  const want = text.toString().replaceAll(/abcdefghijklmnopqrstuvwxyz/g, "[redacted]");
  for (const each of shown) expect(each === want).toBe(true);
});

test.each([
  ["hangs", () => new Promise<never>(() => {}), "in time"],
  ["refuses", () => Promise.reject(new StoreError("unwritable", "No space.")), "did not take it"],
] as const)(
  "a store that %s costs the command nothing but its kept output, and the record says so",
  async (_, append, why) => {
    await over(() => ({ append }));
    const ran = await shim(stage.door, ["devvm", "seq 3000000"]);
    expect(ran.code).toBe(0);
    expect(ran.stdout.toString().endsWith("\n3000000\n")).toBe(true);
    expect(settled()[0]!.cut).toEqual({ bytes: ran.stdout.length, whole: null });
    expect(settled()[0]!.excerpt).toMatch(
      new RegExp(`\\[\\d+ bytes left out, and not kept\\. The record's disk .*${why}`),
    );
  },
);

test("a nearly full disk, and a session that has kept as much as it may, keep nothing more and say so", async () => {
  await over(() => ({ freeBytes: async () => 1024 * 1024 }));
  await shim(stage.door, ["devvm", "seq 100000"]);
  expect(settled()[0]).toMatchObject({
    cut: { whole: null },
    excerpt: expect.stringContaining("nearly full"),
  });
  await over((files) => ({
    list: async () => ["exec/a"],
    head: async (name) => (name === "exec/a" ? 4_095 : files.head(name)),
  }));
  await shim(stage.door, ["devvm", "seq 100000"]);
  expect(settled()[0]).toMatchObject({ cut: { whole: null }, excerpt: expect.stringContaining("256 MiB") });
});

test("nothing is kept under another session's name", async () => {
  await shim(stage.door, ["devvm", "seq 100000"]);
  expect(await readKept(stage.store, randomUUID(), 0)).toBeNull();
});
