import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { auditStream, createAudit, type Audit, type AuditDeps } from "../../src/server/audit/audit.ts";
import type { AuditFact } from "../../src/server/audit/entry.ts";
import { verify } from "../../src/server/audit/verify.ts";
import { systemClock } from "../../src/server/clock.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import { StoreError, type Body, type Store, type StoredRecord } from "../../src/server/store/store.ts";

let directory: string;
let store: Store;
let losses: { fact: AuditFact; reason: string }[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "breakglass-audit-"));
  store = await openFiles({ directory });
  losses = [];
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

const auditOf = (kept: AuditDeps["store"]): Audit =>
  createAudit({ store: kept, clock: systemClock, onLoss: (fact, reason) => losses.push({ fact, reason }) });

const cycle: AuditFact = { actor: "ana", action: "verb cycle", target: "devvm", outcome: "done" };

/** A store that is only read: what somebody made of the record. */
const holding = (records: readonly StoredRecord[]): Pick<Store, "read"> => ({
  read: async (_, after, limit) => records.filter(({ id }) => id > after).slice(0, limit),
});

async function fiveEntries(): Promise<readonly StoredRecord[]> {
  const audit = auditOf(store);
  for (let n = 0; n < 5; n++) await audit.record({ ...cycle, detail: { n } });
  return store.read(auditStream, -1, 10);
}

test("each entry carries the hash of the one before, and the chain verifies", async () => {
  const [first, second] = await fiveEntries();
  expect(first).toMatchObject({
    id: 0,
    kind: "audit",
    actor: "ana",
    action: "verb cycle",
    prev: "0".repeat(64),
  });
  expect(second?.["prev"]).toBe(first?.["hash"]);
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 5, head: { id: 4 } });
});

test("an empty record is intact", async () => {
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 0, head: { id: -1 } });
});

test("what is recorded at once from everywhere becomes one chain, in the order of asking", async () => {
  const audit = auditOf(store);
  const all = Array.from({ length: 250 }, (_, n) => audit.record({ ...cycle, detail: n }));
  expect(new Set(await Promise.all(all))).toEqual(new Set([true]));
  expect((await store.read(auditStream, -1, 500)).map(({ detail }) => detail)).toEqual([...all.keys()]);
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 250 });
  expect(losses).toEqual([]);
});

test("the chain goes on after a restart", async () => {
  await fiveEntries();
  const again = auditOf(store);
  expect((await again.head()).id).toBe(4);
  expect(await again.record(cycle)).toBe(true);
  expect(await verify(store, await again.head())).toMatchObject({
    kind: "intact",
    entries: 6,
    head: { id: 5 },
  });
});

const change = (records: readonly StoredRecord[], at: number, fields: object) =>
  records.map((record) => (record.id === at ? { ...record, ...fields } : record));
const without = (records: readonly StoredRecord[], at: number) => records.filter(({ id }) => id !== at);
const renumbered = (records: readonly StoredRecord[]) => records.map((record, id) => ({ ...record, id }));

test.each<[string, (records: readonly StoredRecord[]) => readonly StoredRecord[], number, string]>([
  ["a changed actor", (all) => change(all, 2, { actor: "eve" }), 2, "changed"],
  ["a changed time", (all) => change(all, 0, { at: "2020-01-01T00:00:00.000Z" }), 0, "changed"],
  ["a field more", (all) => change(all, 3, { note: "" }), 3, "changed"],
  ["a field less", (all) => change(all, 3, { outcome: undefined }), 3, "changed"],
  ["a hash of no string", (all) => change(all, 1, { hash: 7 }), 1, "changed"],
  ["a removed entry", (all) => without(all, 2), 2, "removed or reordered"],
  [
    "a removed entry, the others numbered anew",
    (all) => renumbered(without(all, 2)),
    2,
    "removed or reordered",
  ],
  ["a removed first entry", (all) => renumbered(without(all, 0)), 0, "removed or reordered"],
  [
    "two entries in each other's place",
    (all) => renumbered([0, 2, 1, 3, 4].map((at) => all[at]!)),
    1,
    "removed or reordered",
  ],
  ["an entry twice", (all) => renumbered([0, 1, 1, 2].map((at) => all[at]!)), 2, "removed or reordered"],
])("%s is found, by its place", async (_, forge, id, what) => {
  const verified = await verify(holding(forge(await fiveEntries())));
  expect(verified).toMatchObject({ kind: "broken", id, what });
});

test("a cut tail and a chain written anew show against a head that was noted", async () => {
  const all = await fiveEntries();
  const noted = { id: 4, hash: String(all[4]?.["hash"]) };
  expect(await verify(holding(all.slice(0, 3)))).toMatchObject({ kind: "intact", entries: 3 });
  expect(await verify(holding(all.slice(0, 3)), noted)).toMatchObject({
    kind: "broken",
    id: 3,
    what: "tail cut off",
  });
  const { hash: _, ...rest } = all[4]!;
  const { hashOf } = await import("../../src/server/audit/entry.ts");
  const forged = change(all, 4, { actor: "eve", hash: hashOf({ ...rest, actor: "eve" }) });
  expect(await verify(holding(forged))).toMatchObject({ kind: "intact" });
  expect(await verify(holding(forged), noted)).toMatchObject({ kind: "broken", id: 4, what: "changed" });
});

test("an entry that the store cannot read is named", async () => {
  const all = await fiveEntries();
  const damaged: Pick<Store, "read"> = {
    read: async (_, after, limit) => {
      if (after + limit >= 3) throw new StoreError("damaged", "record 3 does not match its checksum");
      return all.slice(after + 1, after + 1 + limit);
    },
  };
  expect(await verify(damaged)).toMatchObject({ kind: "broken", id: 3, what: "unreadable" });
});

test("no store, no verdict: a failure to read is no fault of the record", async () => {
  const closed: Pick<Store, "read"> = {
    read: () => Promise.reject(new StoreError("closed", "The store is closed.")),
  };
  await expect(verify(closed)).rejects.toThrow("closed");
});

/** The real store, with `append` in somebody's hands. */
const appendingWith = (
  append: (bodies: readonly Body[], go: Store["append"]) => ReturnType<Store["append"]>,
) => ({
  head: store.head.bind(store),
  read: store.read.bind(store),
  append: ((stream, bodies, options) =>
    append(bodies, (name, some) => store.append(name ?? stream, some, options))) as Store["append"],
});

test("what cannot be written is told upward with its reason, and the next entry is recorded", async () => {
  let full = true;
  const audit = auditOf(
    appendingWith((bodies, go) =>
      full ? Promise.reject(new StoreError("unwritable", "The disk is full.")) : go(auditStream, bodies),
    ),
  );
  expect(await audit.record(cycle)).toBe(false);
  expect(losses).toEqual([{ fact: cycle, reason: "The disk is full." }]);
  full = false;
  expect(await audit.record(cycle)).toBe(true);
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 1 });
});

test.each([
  ["all", 3],
  ["the first two", 2],
  ["none", 0],
])(
  "after an append whose end is unknown, with %s of it on disk, nothing is doubled and nothing is lost",
  async (_, n) => {
    let first = true;
    const audit = auditOf(
      appendingWith(async (bodies, go) => {
        if (bodies.length < 3 || !first) return go(auditStream, bodies);
        first = false;
        if (n > 0) await go(auditStream, bodies.slice(0, n));
        throw new StoreError("unknown", "The flush failed.");
      }),
    );
    const [, ...rest] = ["alone", "a", "b", "c"].map((action) => audit.record({ actor: "ana", action }));
    expect(await Promise.all(rest)).toEqual([true, true, true]);
    expect((await store.read(auditStream, -1, 10)).map(({ action }) => action)).toEqual([
      "alone",
      "a",
      "b",
      "c",
    ]);
    expect(await verify(store)).toMatchObject({ kind: "intact", entries: 4 });
  },
);

test("an entry that somebody else appended first is built upon, even the very same one", async () => {
  const clock = { ...systemClock, now: () => new Date(0) };
  const onLoss = () => {};
  const [one, other] = [createAudit({ store, clock, onLoss }), createAudit({ store, clock, onLoss })];
  await one.record(cycle);
  await other.record(cycle);
  expect(await one.record(cycle)).toBe(true);
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 3 });
});

test("while the disk hangs at most a thousand entries wait, and each further one is said to be lost", async () => {
  let hung = 0;
  const audit = auditOf({ ...appendingWith(() => (hung++, new Promise(() => {}))) });
  void audit.record(cycle);
  await expect.poll(() => hung).toBe(1);
  for (let n = 0; n < 1000; n++) void audit.record(cycle);
  expect(losses).toEqual([]);
  expect(await audit.record(cycle)).toBe(false);
  expect(losses).toHaveLength(1);
});

test("secrets are not written, wherever in an entry they stand", async () => {
  const audit = auditOf(store);
  await audit.record({
    actor: "ana password=hunter2",
    action: "exec mysql --password=hunter2",
    outcome: "Authorization: Bearer hunter2",
    detail: {
      argv: ["curl", "https://ana:hunter2@example.org"],
      password: "hunter2",
      deep: [{ api_key: "hunter2" }],
    },
  });
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile())
      expect(await readFile(join(entry.parentPath, entry.name), "latin1")).not.toContain("hunter2");
  }
  expect(await verify(store)).toMatchObject({ kind: "intact", entries: 1 });
});

test("a detail of any shape is recorded and verifies", async () => {
  const audit = auditOf(store);
  const odd = [
    undefined,
    null,
    -0,
    NaN,
    1n,
    Symbol("x"),
    () => 1,
    "\ud800",
    "x".repeat(100_000),
    new Date(NaN),
    new Error("why"),
  ];
  let nested: unknown = "end";
  for (let depth = 0; depth < 100_000; depth++) nested = [nested];
  for (const detail of [...odd, nested, { ["__proto__"]: 1, 7: 1, b: undefined }]) {
    expect(await audit.record({ ...cycle, detail })).toBe(true);
  }
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.string({ unit: "binary" }), async (detail, actor) => {
      expect(await audit.record({ actor, action: "x", detail })).toBe(true);
    }),
    { numRuns: 50 },
  );
  expect(await verify(store)).toMatchObject({ kind: "intact" });
  const text = JSON.stringify(await store.read(auditStream, -1, 500));
  expect(text.length).toBeLessThan(500_000);
});
