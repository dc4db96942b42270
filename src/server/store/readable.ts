import { StoreError, type Store, type StoredRecord, type StreamName } from "./store.ts";

/** Read at a time, unless fewer are asked for. */
const pageRecordsMax = 500;
/** Damaged records of one stream that are passed over; at one more the reading rejects. */
const damagedRecordsMax = 10_000;

/** All records of a stream that can be read, in order; the damaged ones are left out, and each is told. Rejects for all else. */
export async function* readable(
  store: Pick<Store, "head" | "read">,
  stream: StreamName,
  onDamaged: () => void,
  pageRecords = pageRecordsMax,
): AsyncGenerator<StoredRecord> {
  let damaged = 0;
  let limit = pageRecords;
  for (let after = -1; ;) {
    try {
      const page = await store.read(stream, after, limit);
      yield* page;
      if (page.length < limit) return;
      after = page.at(-1)!.id;
      limit = Math.min(pageRecords, limit * 2);
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
      // A page fails as a whole: what lies before the damage is found in smaller ones.
      if (limit > 1) {
        limit = Math.ceil(limit / 2);
        continue;
      }
      if (++damaged > damagedRecordsMax) throw error;
      onDamaged();
      after += 1;
      if (after >= (await store.head(stream))) return;
    }
  }
}
