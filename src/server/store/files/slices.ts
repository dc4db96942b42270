import type { Frames } from "../store.ts";
import { frameStarts } from "./frame.ts";
import type { Span } from "./spans.ts";

/** The verified bytes of one span in memory, shared by everybody who reads there. */
export class Slice {
  readonly #firstId: number;
  readonly #bytes: Buffer;
  #starts: readonly number[] | undefined;

  constructor(firstId: number, bytes: Buffer) {
    this.#firstId = firstId;
    this.#bytes = bytes;
  }

  get bytes(): number {
    return this.#bytes.length;
  }

  /** From the frame `firstId` to `lastId`, or fewer: at least one, and no more than `bytesMax` if one has less. */
  frames(firstId: number, lastId: number, bytesMax: number): Frames {
    if (firstId === this.#firstId && this.#bytes.length <= bytesMax)
      return { firstId, lastId, bytes: this.#bytes };
    const starts = (this.#starts ??= frameStarts(this.#bytes));
    const begin = firstId - this.#firstId;
    const from = starts[begin]!;
    const endOf = (at: number) => starts[at + 1] ?? this.#bytes.length;
    let last = begin;
    while (last + 1 < starts.length && endOf(last + 1) - from <= bytesMax) last++;
    return { firstId, lastId: this.#firstId + last, bytes: this.#bytes.subarray(from, endOf(last)) };
  }
}

interface Kept {
  readonly bytes: number;
  readonly crc: number;
  readonly slice: Promise<Slice>;
}

/**
 * What was read last, by key, under `bytesMax`; beyond it the longest unused goes. Fifty who replay the same session
 * share one read: what is being read counts as kept.
 */
export class Slices {
  readonly #kept = new Map<string, Kept>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** What the span has become since, by a later commit, is read anew. */
  get(key: string, { length, crc }: Span, load: () => Promise<Slice>): Promise<Slice> {
    const kept = this.#kept.get(key);
    if (kept?.bytes === length && kept.crc === crc) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept.slice;
    }
    const entry: Kept = { bytes: length, crc, slice: load() };
    this.#forget(key);
    this.#kept.set(key, entry);
    this.#bytes += length;
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#forget(oldest);
    }
    // The reader is told of the failure; here it only must not be kept.
    entry.slice.catch(() => this.#kept.get(key) === entry && this.#forget(key));
    return entry.slice;
  }

  #forget(key: string): void {
    const kept = this.#kept.get(key);
    if (kept === undefined) return;
    this.#kept.delete(key);
    this.#bytes -= kept.bytes;
  }
}
