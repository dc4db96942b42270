import { crc32 } from "node:zlib";

/** Consecutive bytes of the file that are read at once: whole frames, or a stretch that is damaged. */
export interface Span {
  readonly firstId: number;
  readonly lastId: number;
  readonly offset: number;
  readonly length: number;
  /** Of all its bytes: what is read later is compared with it, so that rot after the opening is told as well. */
  readonly crc: number;
  readonly damaged: boolean;
}

/** What one read takes, unless a single frame is longer. As much as a replay sends at a time. */
export const spanBytesMax = 256 * 1024;

/** After so many spans (256 MiB, then 768 MiB, ...) the next ones are twice as long: the index grows with the logarithm. */
const spansPerSize = 1024;

/** The sparse index of one stream: where which ids lie. Derived from the file, and as long as what is durable. */
export class Spans {
  readonly #spans: { firstId: number; offset: number; crc: number; damaged: boolean }[] = [];
  /** Of the newest record, -1 before the first. */
  head = -1;
  /** Where the next frame will lie. */
  end = 0;

  /** Adds whole frames that begin at `from` in `bytes` and end at `ends`. */
  add(bytes: Buffer, from: number, ends: readonly number[]): void {
    let start = from;
    let at = from;
    for (const frameEnd of ends) {
      const length = frameEnd - at;
      if (!this.#hasRoom(at - start + length)) {
        this.#extend(bytes.subarray(start, at));
        start = at;
        this.#spans.push({ firstId: this.head + 1, offset: this.end, crc: 0, damaged: false });
      }
      this.head++;
      at = frameEnd;
    }
    this.#extend(bytes.subarray(start, at));
  }

  /** `length` bytes that are no frames; the next whole one has the id `nextId`. */
  addDamage(length: number, nextId: number): void {
    this.#spans.push({ firstId: this.head + 1, offset: this.end, crc: 0, damaged: true });
    this.head = nextId - 1;
    this.end += length;
  }

  /** The span of an id from 0 to `head`. */
  find(id: number): Span {
    let low = 0;
    let high = this.#spans.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#spans[middle]!.firstId <= id) low = middle;
      else high = middle - 1;
    }
    const span = this.#spans[low]!;
    const next = this.#spans[low + 1];
    return {
      ...span,
      lastId: (next?.firstId ?? this.head + 1) - 1,
      length: (next?.offset ?? this.end) - span.offset,
    };
  }

  #hasRoom(bytes: number): boolean {
    const last = this.#spans.at(-1);
    if (last === undefined || last.damaged) return false;
    return (
      this.end - last.offset + bytes <= spanBytesMax * 2 ** Math.floor(this.#spans.length / spansPerSize)
    );
  }

  #extend(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const last = this.#spans.at(-1)!;
    last.crc = crc32(bytes, last.crc);
    this.end += bytes.length;
  }
}
