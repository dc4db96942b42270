import { crc32 } from "node:zlib";
import type { Body, StoredRecord } from "../store.ts";

/**
 * One record on disk is one server-sent event that carries its own checksum (a comment line is legal SSE):
 *
 *     : <crc32 of the rest of the frame, 8 hex>\nid: N\ndata: {"kind":...,"id":N,...}\n\n
 *
 * JSON has no raw newline, so "\n\n" ends a frame and "\nid: " stands nowhere but in its head.
 */
export interface Payload {
  readonly beforeId: string;
  readonly afterId: string;
  /** Of the whole frame, at most: the id is counted with all its digits. */
  readonly bytesMax: number;
}

/** A longer record is refused on append; recovery takes it for damage. Events have half of it (protocol/events.ts). */
export const frameBytesMax = 16 * 1024 * 1024;

/** Checksum line, `id:`, `data:`, the JSON around the body, and twice an id of 16 digits. */
const frameOverheadBytes = 80;
const checksumLineBytes = 11;
const idDigitsMax = 16;
const newline = 0x0a;

/** Taken when `append` is called, so that a body changed afterwards changes nothing. Throws for what is no record. */
export function encodeBody(body: Body): Payload {
  const { kind, ...fields } = body;
  if (typeof kind !== "string") throw new TypeError("A record needs a `kind` that is a string.");
  // It would be lost behind the store's own.
  if (Object.hasOwn(fields, "id"))
    throw new TypeError(`A record of kind "${kind}" may not bring an \`id\`: the store gives it.`);
  const json: string | undefined = JSON.stringify(fields);
  if (!json?.startsWith("{")) throw new TypeError(`A record of kind "${kind}" is no JSON object.`);
  const beforeId = `{"kind":${JSON.stringify(kind)},"id":`;
  const afterId = json === "{}" ? "}" : `,${json.slice(1)}`;
  const bytesMax = frameOverheadBytes + Buffer.byteLength(beforeId) + Buffer.byteLength(afterId);
  if (bytesMax > frameBytesMax) {
    throw new RangeError(
      `A record of kind "${kind}" has ${bytesMax} bytes, more than the ${frameBytesMax} that one may have; nothing was ` +
        "stored. Cut it before it is appended.",
    );
  }
  return { beforeId, afterId, bytesMax };
}

export function encodeFrame(id: number, { beforeId, afterId }: Payload): Buffer {
  const rest = `id: ${id}\ndata: ${beforeId}${id}${afterId}\n\n`;
  const frame = Buffer.allocUnsafe(checksumLineBytes + Buffer.byteLength(rest));
  frame.write(rest, checksumLineBytes);
  const checksum = crc32(frame.subarray(checksumLineBytes)).toString(16).padStart(8, "0");
  frame.write(`: ${checksum}\n`, "latin1");
  return frame;
}

/** "short": nothing is wrong so far, but the frame goes on behind `held`. `end` is the offset behind the frame. */
export type FrameAt =
  | { readonly kind: "whole"; readonly id: number; readonly end: number }
  | { readonly kind: "short" }
  | { readonly kind: "bad" };

const short: FrameAt = { kind: "short" };
const bad: FrameAt = { kind: "bad" };

/** Verifies the frame that begins at `at`; `bytes` are filled up to `held`. */
export function frameAt(bytes: Buffer, at: number, held: number): FrameAt {
  const idAt = at + checksumLineBytes + 4;
  if (idAt >= held) return short;
  if (!beginsFrame(bytes, at)) return bad;
  let id = 0;
  let pos = idAt;
  for (; pos < held && bytes[pos] !== newline; pos++) {
    const digit = bytes[pos]! - 0x30;
    if (digit < 0 || digit > 9 || pos - idAt >= idDigitsMax) return bad;
    id = id * 10 + digit;
  }
  const dataEnd = bytes.indexOf(newline, pos + 1);
  if (pos >= held || dataEnd < 0 || dataEnd + 1 >= held) return short;
  if (bytes[dataEnd + 1] !== newline) return bad;
  const end = dataEnd + 2;
  return crc32(bytes.subarray(at + checksumLineBytes, end)) === checksumAt(bytes, at + 2)
    ? { kind: "whole", id, end }
    : bad;
}

/** The next place from `from` where a frame may begin, or -1: not before `held`. */
export function nextFrameStart(bytes: Buffer, from: number, held: number): number {
  let pos = from + checksumLineBytes - 1;
  while ((pos = bytes.indexOf("\nid: ", pos, "latin1")) >= 0 && pos + 5 <= held) {
    if (beginsFrame(bytes, pos - checksumLineBytes + 1)) return pos - checksumLineBytes + 1;
    pos++;
  }
  return -1;
}

/** The offset of each frame in `bytes`, which hold whole frames. */
export function frameStarts(bytes: Buffer): number[] {
  const starts: number[] = [];
  let pos = 0;
  while (pos < bytes.length) {
    starts.push(pos);
    const end = bytes.indexOf("\n\n", pos, "latin1");
    if (end < 0) break;
    pos = end + 2;
  }
  return starts;
}

/** The records of verified frames, at most `limit`. */
export function parseFrames(bytes: Buffer, limit = Infinity): StoredRecord[] {
  const records: StoredRecord[] = [];
  let pos = 0;
  while (pos < bytes.length && records.length < limit) {
    const data = bytes.indexOf(newline, pos + checksumLineBytes) + "\ndata: ".length;
    const end = bytes.indexOf(newline, data);
    records.push(JSON.parse(bytes.toString("utf8", data, end)) as StoredRecord);
    pos = end + 2;
  }
  return records;
}

/** `: xxxxxxxx\nid: `, of which only the x are left open. */
function beginsFrame(bytes: Buffer, at: number): boolean {
  return (
    bytes[at] === 0x3a &&
    bytes[at + 1] === 0x20 &&
    bytes[at + 10] === newline &&
    bytes[at + 11] === 0x69 &&
    bytes[at + 12] === 0x64 &&
    bytes[at + 13] === 0x3a &&
    bytes[at + 14] === 0x20
  );
}

/** Eight lower-case hex digits, or -1, which is no checksum. */
function checksumAt(bytes: Buffer, at: number): number {
  let value = 0;
  for (let pos = at; pos < at + 8; pos++) {
    const code = bytes[pos]!;
    const digit =
      code >= 0x30 && code <= 0x39 ? code - 0x30 : code >= 0x61 && code <= 0x66 ? code - 0x57 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}
