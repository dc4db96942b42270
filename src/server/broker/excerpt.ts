import { restOfKey, tornBytesMax } from "./redacting.ts";

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

  get isWhole(): boolean {
    return this.bytes <= 2 * sideBytesMax;
  }

  /** `why` ends what is said of the part that was left out. */
  text(why = ""): string {
    const tail = Buffer.concat(this.#tail).subarray(-sideBytesMax);
    if (this.isWhole) return Buffer.concat([this.#head, tail]).toString();
    const first = wholeEnd(this.#head);
    const last = withoutTorn(tail);
    return `${first.toString()}\n[${this.bytes - first.length - last.length} bytes left out${why}]\n${last.toString()}`;
  }
}

/** From the next line on, and without what may be the rest of a key: half a secret is not seen to be one. */
function withoutTorn(tail: Buffer): Buffer {
  const line = tail.subarray(0, tornBytesMax).indexOf("\n");
  const lines = tail.subarray(line === -1 ? tornBytesMax : line + 1);
  return wholeStart(lines.subarray(restOfKey(lines.toString("latin1"))));
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
