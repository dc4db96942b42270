import { readable } from "../store/readable.ts";
import type { Store, StoredRecord, StreamName } from "../store/store.ts";

/** What can be read of a stream; rejects when the store does. */
export async function readAll(store: Store, stream: StreamName): Promise<readonly StoredRecord[]> {
  const records: StoredRecord[] = [];
  for await (const record of readable(store, stream, () => {})) records.push(record);
  return records;
}

/**
 * Reads what can be read until `signal` ends it. Answers null when that was all of the stream, or else a sentence about what
 * is missing. Never rejects.
 */
export async function readReadable(
  { store, signal }: { readonly store: Store; readonly signal: AbortSignal },
  stream: StreamName,
  onRecord: (record: StoredRecord) => void,
): Promise<string | null> {
  let damaged = 0;
  let last = -1;
  try {
    for await (const record of readable(store, stream, () => damaged++)) {
      if (signal.aborted) break;
      onRecord(record);
      last = record.id;
    }
  } catch (error) {
    return `what follows record ${last} could not be read: ${String(error)}`;
  }
  return damaged === 0 ? null : `${damaged} records could not be read: they are damaged`;
}
