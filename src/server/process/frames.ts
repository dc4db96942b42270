/** A longer frame is not taken. Bytes go in pieces of 64 KiB: only what is said at the beginning can come near. */
export const frameBytesMax = 256 * 1024;
const headBytes = 5;

/** A frame: type byte, length (32 bit, big endian), payload. What the types mean is their users' affair. */
export function encode(type: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(headBytes);
  head[0] = type;
  head.writeUInt32BE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

/** Cuts a byte stream into frames. */
export class Frames {
  #held: Buffer[] = [];
  #bytes = 0;

  /** Answers false for a frame that is too long: nothing after it makes sense. */
  take(chunk: Buffer, onFrame: (type: number, payload: Buffer) => void): boolean {
    this.#held.push(chunk);
    this.#bytes += chunk.length;
    for (;;) {
      if (this.#bytes < headBytes) return true;
      let all = this.#held[0]!;
      if (all.length < headBytes) this.#held = [(all = Buffer.concat(this.#held))];
      const end = headBytes + all.readUInt32BE(1);
      if (end > frameBytesMax) return false;
      if (this.#bytes < end) return true;
      if (all.length < end) all = Buffer.concat(this.#held);
      const rest = all.subarray(end);
      this.#held = rest.length > 0 ? [rest] : [];
      this.#bytes = rest.length;
      onFrame(all[0]!, all.subarray(headBytes, end));
    }
  }
}
