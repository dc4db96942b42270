import type { ExecSettled } from "../../protocol/events.ts";

/** Kept of a command's output for the record: this much of its beginning and as much of its end. */
const sideBytesMax = 8 * 1024;

/** The head and the tail of what passes, both channels in the order of their coming, and the count of all of it. */
export class Excerpt {
  bytes = 0;
  #head = Buffer.alloc(0);
  #tail: Buffer[] = [];
  #tailBytes = 0;

  take(chunk: Buffer): void {
    this.bytes += chunk.length;
    const room = sideBytesMax - this.#head.length;
    if (room > 0) this.#head = Buffer.concat([this.#head, chunk.subarray(0, room)]);
    if (chunk.length <= room) return;
    // A copy: a slice would hold the whole chunk.
    const rest = Buffer.from(chunk.subarray(Math.max(room, chunk.length - sideBytesMax)));
    this.#tail.push(rest);
    this.#tailBytes += rest.length;
    while (this.#tailBytes - this.#tail[0]!.length >= sideBytesMax)
      this.#tailBytes -= this.#tail.shift()!.length;
    // Many small chunks are one of the same size.
    if (this.#tail.length > 64) this.#tail = [Buffer.concat(this.#tail)];
  }

  fields(): Pick<ExecSettled, "bytes" | "excerpt" | "cut"> {
    const tail = Buffer.concat(this.#tail).subarray(-sideBytesMax);
    const left = this.bytes - this.#head.length - tail.length;
    if (left === 0) return { bytes: this.bytes, excerpt: Buffer.concat([this.#head, tail]).toString() };
    const excerpt = `${wholeEnd(this.#head).toString()}\n[${left} bytes left out]\n${wholeStart(tail).toString()}`;
    return { bytes: this.bytes, excerpt, cut: { bytes: this.bytes, whole: null } };
  }
}

/** Without a UTF-8 character that the cut went through. */
export function wholeEnd(bytes: Buffer): Buffer {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if (byte < 0x80) return bytes;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

function wholeStart(bytes: Buffer): Buffer {
  let start = 0;
  while (start < Math.min(3, bytes.length) && (bytes[start]! & 0xc0) === 0x80) start++;
  return bytes.subarray(start);
}
