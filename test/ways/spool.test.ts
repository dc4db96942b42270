import { randomUUID } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import type { OperationId } from "../../src/protocol/ids.ts";
import { createAudit } from "../../src/server/audit/audit.ts";
import { systemClock } from "../../src/server/clock.ts";
import { outputBody, requestedBody, settledBody } from "../../src/server/power/records.ts";
import { mirrorIn, spoolStore, writableSpool } from "../../src/server/power/spool.ts";
import { bringInSpooled } from "../../src/server/power/spooled.ts";
import { StoreError, type Body, type Store } from "../../src/server/store/store.ts";
import { scratchFolder, scratchStore } from "../doubles/sessions.ts";
import { stage, newKey, saw } from "../power/stage.ts";
import { recordOf, wholeRecord } from "./disk.ts";

test("what was done over a spool is in the record afterwards, and the spool is empty", async () => {
  const [folder, dataDir] = [scratchFolder(), scratchFolder()];
  const id = await cycleOver(spoolStore(folder));
  expect(readdirSync(folder)).toEqual([`${id}.jsonl`]);
  await bringIn(await scratchStore(dataDir), folder);
  expect(recordOf(dataDir, id)).toEqual(wholeRecord);
  expect(readdirSync(folder)).toEqual([]);
});

test("what is in the record already is not brought in again, wherever the bringing in was cut off", async () => {
  const whole = spooledCycle();
  const index = whole.filter(({ kind }) => kind !== "output");
  for (let own = 0; own <= whole.length; own++) {
    for (let indexed = 0; indexed <= (own === whole.length ? index.length : 0); indexed++) {
      const [folder, dataDir] = [scratchFolder(), scratchFolder()];
      const store = await scratchStore(dataDir);
      const id = whole[0]!["operation"] as OperationId;
      writeFileSync(join(folder, `${id}.left`), whole.map((body) => `\n${JSON.stringify(body)}`).join(""));
      if (own > 0) await store.append(`operation/${id}`, whole.slice(0, own));
      if (indexed > 0) await store.append("operations", index.slice(0, indexed));
      await bringIn(store, folder);
      expect(recordOf(dataDir, id)).toEqual(wholeRecord);
      // Twice is as good as once.
      writeFileSync(join(folder, `${id}.jsonl`), whole.map((body) => `\n${JSON.stringify(body)}`).join(""));
      await bringIn(store, folder);
      expect(recordOf(dataDir, id)).toEqual(wholeRecord);
      expect(readdirSync(folder)).toEqual([]);
    }
  }
});

test("a store that fails in the middle leaves the spool as it is", async () => {
  const folder = scratchFolder();
  const id = await cycleOver(spoolStore(folder));
  const store = await scratchStore();
  const failing: Store = {
    ...store,
    head: (stream) => store.head(stream),
    read: (...asked) => store.read(...asked),
    append: async (stream, ...rest) => {
      if (stream === "operations") throw new StoreError("unwritable", "The disk is full.");
      return store.append(stream, ...rest);
    },
  };
  const said = await bringIn(failing, folder);
  expect(said.join()).toContain("The disk is full.");
  expect(readdirSync(folder)).toEqual([`${id}.left`]);
});

test("a line that a killed process left half written costs only itself", async () => {
  const [folder, dataDir] = [scratchFolder(), scratchFolder()];
  const [requested, output, settled] = spooledCycle() as [Body, Body, Body];
  const id = requested["operation"] as OperationId;
  const path = join(folder, `${id}.jsonl`);
  writeFileSync(path, `\n${JSON.stringify(requested)}\n${JSON.stringify(output)}\n{"kind":"outp`);
  appendFileSync(path, `\n${JSON.stringify(settled)}`);
  await bringIn(await scratchStore(dataDir), folder);
  expect(recordOf(dataDir, id)).toEqual(wholeRecord);
});

test("a file that cannot be read keeps none of the others", async () => {
  const folder = scratchFolder();
  const ids = [await cycleOver(spoolStore(folder)), await cycleOver(spoolStore(folder))].toSorted();
  const [first, second] = ids as [OperationId, OperationId];
  // As root every file can be read; a folder cannot, by anybody.
  rmSync(join(folder, `${first}.jsonl`));
  mkdirSync(join(folder, `${first}.jsonl`));
  const dataDir = scratchFolder();
  const said = await bringIn(await scratchStore(dataDir), folder);
  expect(said.join()).toContain("could not be recorded");
  expect(recordOf(dataDir, second)).toEqual(wholeRecord);
});

test("only what an earlier process left is brought in from a folder that is in use", async () => {
  const folder = scratchFolder();
  const [left, own] = [await cycleOver(spoolStore(folder)), await cycleOver(spoolStore(folder))];
  await bringIn(await scratchStore(), folder, new Set([left]));
  expect(readdirSync(folder)).toEqual([`${own}.jsonl`]);
});

test("the mirror holds an Operation until the last of it is let go", () => {
  const kept = scratchFolder();
  const mirror = mirrorIn(kept, (text) => expect.unreachable(text));
  const [requested, , settled] = spooledCycle() as [Body, Body, Body];
  const id = requested["operation"] as OperationId;
  const path = join(kept, "spool", `${id}.jsonl`);
  const [first, second] = [mirror.keep(id, requested), mirror.keep(id, settled)];
  first();
  expect(existsSync(path)).toBe(true);
  second();
  expect(existsSync(path)).toBe(false);
});

test("a store that hangs is waited for by nobody: what it has not taken is in the mirror, and goes when it has", async () => {
  const kept = scratchFolder();
  const mirror = mirrorIn(kept, (text) => expect.unreachable(text));
  const { power, hypervisor, store } = stage({ mirror });
  store.fault = "hang";
  const id = newKey();
  const submitting = power.submit({ target: "devvm", verb: "cycle", key: id, by: "ana" });
  (await hypervisor.next()).answer({ stdout: saw("running") });
  const answer = await submitting;
  if (answer.kind !== "accepted") throw new Error(answer.kind);
  expect(await answer.settled).toMatchObject({ outcome: { kind: "done" }, durable: false });
  expect(readdirSync(join(kept, "spool"))).toEqual([`${id}.jsonl`]);
  store.fault = "none";
  await power.close();
  expect(store.kinds(`operation/${id}`)).toEqual(["requested", "settled"]);
  expect(readdirSync(join(kept, "spool"))).toEqual([]);
});

test("the spool is in the first folder that can be written to", async () => {
  const file = join(scratchFolder(), "file");
  writeFileSync(file, "");
  const good = join(scratchFolder(), "deep", "spool");
  expect(await writableSpool(systemClock, [join(file, "spool"), good])).toBe(good);
  await expect(writableSpool(systemClock, [join(file, "spool")])).rejects.toThrow(/Nothing can be written/);
});

test("a spool in which a thousand operations wait takes no more, and says what to do", async () => {
  const folder = scratchFolder();
  mkdirSync(folder, { recursive: true });
  for (let n = 0; n <= 1_000; n++) writeFileSync(join(folder, `${randomUUID()}.jsonl`), "");
  const [requested] = spooledCycle() as [Body];
  const appending = spoolStore(folder).append(`operation/${String(requested["operation"])}`, [requested]);
  await expect(appending).rejects.toThrow(/start the server once/);
});

/** A cycle through the power path, with the spool as its store. */
async function cycleOver(store: Store): Promise<OperationId> {
  const { power, hypervisor } = stage({ store });
  const id = newKey();
  const submitting = power.submit({ target: "devvm", verb: "cycle", key: id, by: "cli:ana" });
  const call = await hypervisor.next();
  call.say("Stopping.\n");
  call.answer({ stdout: saw("running") });
  const answer = await submitting;
  if (answer.kind !== "accepted") throw new Error(answer.kind);
  expect(await answer.settled).toMatchObject({ outcome: { kind: "done" }, durable: true });
  await power.close();
  return id;
}

async function bringIn(store: Store, folder: string, left?: ReadonlySet<OperationId>): Promise<string[]> {
  const said: string[] = [];
  const log = (text: string) => void said.push(text);
  const audit = createAudit({ store, clock: systemClock, onLoss: (_, reason) => log(reason) });
  await bringInSpooled({ store, audit, clock: systemClock, log }, folder, left);
  return said;
}

function spooledCycle(): Body[] {
  const operation: Operation = {
    id: randomUUID(),
    target: "devvm",
    verb: "cycle",
    by: "cli:ana",
    requested_at: "2026-01-01T00:00:00.000Z",
    settled_at: "2026-01-01T00:00:09.000Z",
    outcome: { kind: "done", changed: true, state: "running" },
    exit_code: 0,
    durable: false,
    output: "",
  };
  return [requestedBody(operation), outputBody(0, "Stopping.\n"), settledBody(operation, null)];
}
