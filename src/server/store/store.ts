/**
 * Everything is a log; state is a fold. A stream is an append-only sequence of records with ids from 0 without gaps.
 * Names are paths of lower-case words, digits and dashes: `session/<uuid>`, `operation/<uuid>`, `catalogue`, `audit`.
 */
export type StreamName = string;

/** What is appended: JSON with a `kind`; the store puts `id` behind it. */
export interface Body {
  readonly kind: string;
  readonly [field: string]: unknown;
}
export type StoredRecord = Body & { readonly id: number };

/** Consecutive records in wire format, as they lie on disk: comment line with the checksum, `id:`, `data:`, blank line. */
export interface Frames {
  readonly firstId: number;
  readonly lastId: number;
  /** Shared by everybody who reads it: never written to. */
  readonly bytes: Buffer;
}

export interface Store {
  /**
   * Resolves with the ids once the records are on disk (group commit: what arrives while a flush is in flight is the
   * next one). Appends to one stream keep their order. Rejects with a `StoreError`; then none of these records counts,
   * unless its kind is "unknown".
   */
  append(
    stream: StreamName,
    bodies: readonly Body[],
    options?: { readonly expectedHead?: number },
  ): Promise<{ readonly firstId: number; readonly lastId: number }>;

  /** The id of the newest durable record, -1 when there is none. */
  head(stream: StreamName): Promise<number>;

  /** What follows `after`, in whole records, at least one and at most about `bytesMax`; null when there is nothing. */
  readFrames(stream: StreamName, after: number, bytesMax: number): Promise<Frames | null>;

  /** The same, parsed: at most `limit` records after `after`. */
  read(stream: StreamName, after: number, limit: number): Promise<readonly StoredRecord[]>;

  /** Calls back after each commit, in order, with what became durable. Answers the function that ends it. */
  watch(stream: StreamName, onCommit: (frames: Frames) => void): () => void;

  /** Streams whose name begins with `prefix`, sorted. */
  list(prefix: string): Promise<readonly StreamName[]>;

  /** Free bytes where the record is kept; throws when that cannot be told in time. */
  freeBytes(): Promise<number>;

  /** Settles what is in flight and lets the data directory go. */
  close(): Promise<void>;
}

export type StoreErrorKind =
  /** Somebody else appended first (`expectedHead`). */
  | "head_moved"
  /** No space, read-only, or not writable: nothing of the append counts. */
  | "unwritable"
  /** The flush failed in a way that leaves open what is on disk; the stream was reopened with recovery. */
  | "unknown"
  /** A record in the middle does not match its checksum. */
  | "damaged"
  /** The data directory belongs to another process. */
  | "taken"
  /** More is waiting than `queuedBytesMax`: the disk does not keep up or hangs. */
  | "overloaded"
  | "closed";

export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly kind: StoreErrorKind;
  /** `message` names what happened, what is still true, and the mend. */
  constructor(kind: StoreErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
