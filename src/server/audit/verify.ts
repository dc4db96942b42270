import { StoreError, type Store, type StoredRecord } from "../store/store.ts";
import { auditStream, type AuditHead } from "./audit.ts";
import { genesis, hashOf } from "./entry.ts";

export type Verified =
  | { readonly kind: "intact"; readonly entries: number; readonly head: AuditHead }
  /** `id` is the first entry that is wrong; those before it are intact. */
  | { readonly kind: "broken"; readonly id: number; readonly what: Fault; readonly detail: string };

type Fault = "changed" | "removed or reordered" | "unreadable" | "tail cut off";

/** Entries in memory at once. */
const pageEntries = 500;

/**
 * Walks the whole chain. `known` is a head from elsewhere (a log line): without it a cut tail does not show, nor does a chain
 * that was written anew from some entry on. Rejects only with what is no fault of the record (the store is closed, ...).
 */
export async function verify(store: Pick<Store, "read">, known?: AuditHead): Promise<Verified> {
  let head: AuditHead = { id: -1, hash: genesis };
  let page = pageEntries;
  for (;;) {
    let records: readonly StoredRecord[];
    try {
      records = await store.read(auditStream, head.id, page);
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
      // Somewhere in this page: one by one it shows where.
      if (page === 1) return broken(head.id + 1, "unreadable", error.message);
      page = 1;
      continue;
    }
    if (records.length === 0) break;
    for (const record of records) {
      const fault = faultOf(record, head);
      if (fault !== undefined) return fault;
      head = { id: record.id, hash: String(record["hash"]) };
      if (known?.id === head.id && known.hash !== head.hash)
        return broken(
          head.id,
          "changed",
          "The chain was written anew: this entry is not the one whose hash was noted.",
        );
    }
  }
  if (known !== undefined && known.id > head.id)
    return broken(
      head.id + 1,
      "tail cut off",
      `Entries up to ${known.id} were there when its hash was noted.`,
    );
  return { kind: "intact", entries: head.id + 1, head };
}

function faultOf(record: StoredRecord, before: AuditHead): Verified | undefined {
  if (hashOf(record) !== record["hash"])
    return broken(record.id, "changed", "Its content does not match its hash.");
  if (record["prev"] !== before.hash || record.id !== before.id + 1)
    return broken(
      before.id + 1,
      "removed or reordered",
      "What stands there does not follow the entry before it.",
    );
  return undefined;
}

function broken(id: number, what: Fault, detail: string): Verified {
  return {
    kind: "broken",
    id,
    what,
    detail: `Entry ${id}: ${what}. ${detail} The ${id} before it are intact.`,
  };
}
