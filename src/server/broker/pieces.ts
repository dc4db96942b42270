import type { Channel } from "./sink.ts";

interface Piece {
  readonly channel: Channel;
  readonly block: Buffer;
  used: number;
}

const blockBytesMin = 256;
const blockBytesMax = 16 * 1024;

/** Bytes of both channels in the order of their coming, in as few blocks as that allows. */
export class Pieces {
  /** What they take in memory, their blocks included: never less than the bytes in them. */
  cost = 0;
  /** In them. */
  bytes = 0;
  #pieces: Piece[] = [];

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  push(channel: Channel, chunk: Buffer): void {
    this.bytes += chunk.length;
    let last = this.#pieces.at(-1);
    for (let from = 0; from < chunk.length;) {
      if (last?.channel !== channel || last.used === last.block.length) {
        const grown = last?.channel === channel ? Math.min(2 * last.block.length, blockBytesMax) : 0;
        const size = Math.max(blockBytesMin, grown, Math.min(chunk.length - from, blockBytesMax));
        last = { channel, block: Buffer.allocUnsafeSlow(size), used: 0 };
        this.#pieces.push(last);
        this.cost += size;
      }
      const copied = chunk.copy(last.block, last.used, from);
      last.used += copied;
      from += copied;
    }
  }

  /** The oldest, out of them. */
  shift(): { readonly channel: Channel; readonly bytes: Buffer } | null {
    const piece = this.#pieces.shift();
    if (piece === undefined) return null;
    this.cost -= piece.block.length;
    this.bytes -= piece.used;
    return { channel: piece.channel, bytes: piece.block.subarray(0, piece.used) };
  }
}
