import type { Frozen } from "../../protocol/api.ts";
import { within, type Clock } from "../clock.ts";
import { readable } from "../store/readable.ts";
import type { Store, StoredRecord } from "../store/store.ts";

/** While it holds no agent and no Runbook does anything. Verbs of Operators, and Operations under way, go on. */
export interface Freeze {
  /** null: agents may work, as far as is known. */
  now(): Frozen | null;
  /** Holds in memory at once; `durable` tells whether it outlives this process. Never rejects. */
  set(frozen: boolean, by: string): Promise<{ readonly durable: boolean }>;
  watch(onChange: () => void): () => void;
  /** Reads what held when the last process ended, once. Rejects when that cannot be told: then nothing may be run. */
  load(): Promise<void>;
}

/** One record for each time that it was set. */
const freezeStream = "freeze";
/** Setting it waits so long for the disk; the record is written later all the same. */
const recordMsMax = 2_000;

export function createFreeze(deps: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: (text: string) => void;
}): Freeze {
  const { store, clock, log } = deps;
  let frozen: Frozen | null = null;
  /** An Operator's word in this process is newer than any record. */
  let known = false;
  let loading: Promise<void> | null = null;
  const listeners = new Set<() => void>();

  const tell = () => {
    for (const listener of listeners) listener();
  };

  async function read(): Promise<void> {
    let last: StoredRecord | null = null;
    let damagedSince = false;
    for await (const record of readable(store, freezeStream, () => (damagedSince = true))) {
      last = record;
      damagedSince = false;
    }
    if (damagedSince) throw new Error("the newest record of it is damaged");
    if (known) return;
    known = true;
    if (last?.["frozen"] !== true) return;
    frozen = { by: String(last["by"]), at: String(last["at"]) };
    tell();
  }

  return {
    now: () => frozen,
    async set(wanted, by) {
      known = true;
      const now = { by, at: clock.now().toISOString() };
      // Who froze first stays: a second tap changes nothing.
      frozen = wanted ? (frozen ?? now) : null;
      tell();
      try {
        const body = { kind: "freeze", frozen: wanted, ...(frozen ?? now) };
        const recording = store.append(freezeStream, [body]);
        const durable = (await within(clock, recordMsMax, recording)) !== null;
        if (!durable) log("the freeze could not be recorded in time: it may be forgotten at a restart");
        return { durable };
      } catch (error) {
        log(`the freeze could not be recorded, and is forgotten at a restart: ${String(error)}`);
        return { durable: false };
      }
    },
    watch(onChange) {
      listeners.add(onChange);
      return () => listeners.delete(onChange);
    },
    async load() {
      if (known) return;
      loading ??= read().finally(() => (loading = null));
      await loading;
    },
  };
}
