import { StoreError } from "../store.ts";
import type { Descriptor } from "./disk.ts";
import { frameAt, frameBytesMax, nextFrameStart } from "./frame.ts";
import { Spans } from "./spans.ts";

export interface Recovered {
  readonly spans: Spans;
  /** How much lies behind the last whole frame: an unfinished write, to be cut. */
  readonly tornBytes: number;
  /** It is more than a frame that was not written to its end: the disk may have changed what was acknowledged. */
  readonly tornIsOdd: boolean;
  /** One sentence for each stretch of the middle that is damaged. */
  readonly damage: readonly string[];
}

/** Read at once; it grows to hold a longer frame, never beyond `frameBytesMax`. One such buffer per opening. */
const windowBytes = 1024 * 1024;

/** A file with more damage is not opened at all. */
const damageStretchesMax = 1000;

/** More than a frame's head before its id: kept between windows while a whole frame is looked for. */
const headBytes = 16;

/**
 * Verifies every frame of a file: checksum, and ids from 0 without gaps. What follows the last whole frame is a torn
 * tail. What is no frame and has a whole one behind it is damage: it stays, and its ids are unreadable.
 *
 * After a power cut an unflushed write can have a hole with whole frames behind it. Nobody was told of them, but
 * that cannot be seen here: it is told as damage, which loses nothing, and never cut.
 */
export async function recover(file: Descriptor): Promise<Recovered> {
  const size = await file.size();
  const spans = new Spans();
  const damage: string[] = [];
  let window = Buffer.allocUnsafeSlow(Math.min(windowBytes, size));
  let base = 0;
  let held = 0;
  let looking = false;
  for (;;) {
    const got = held < window.length ? await file.read(window.subarray(held), base + held) : 0;
    held += got;
    const atEnd = base + held >= size || (got === 0 && held < window.length);
    let at = 0;
    for (;;) {
      if (looking) {
        const found = nextWhole(window, at, held, spans.head + 1, atEnd);
        at = found.at;
        if (found.id === null) break;
        if (damage.length === damageStretchesMax) throw tooDamaged(damage);
        damage.push(describe(spans, base + at, found.id));
        spans.addDamage(base + at - spans.end, found.id);
        looking = false;
      }
      const run = wholeFrames(window, at, held, spans.head + 1);
      spans.add(window, at, run.ends);
      at = run.ends.at(-1) ?? at;
      if (!run.bad) break;
      looking = true;
    }
    if (atEnd) return { spans, tornBytes: base + held - spans.end, tornIsOdd: looking, damage };
    window.copyWithin(0, at, held);
    base += at;
    held -= at;
    if (held < window.length) continue;
    if (window.length < frameBytesMax)
      window = Buffer.concat([window], Math.min(window.length * 2, frameBytesMax));
    else looking = true;
  }
}

/** Consecutive whole frames from `at` with ids from `id`; `bad` when what follows them is none. */
function wholeFrames(bytes: Buffer, at: number, held: number, id: number): { ends: number[]; bad: boolean } {
  const ends: number[] = [];
  let pos = at;
  for (;;) {
    const frame = frameAt(bytes, pos, held);
    if (frame.kind !== "whole") return { ends, bad: frame.kind === "bad" };
    if (frame.id !== id + ends.length) return { ends, bad: true };
    ends.push(frame.end);
    pos = frame.end;
  }
}

/** Where a whole frame begins that can follow id `id - 1`, or with `id: null` where to look on when more is read. */
function nextWhole(
  bytes: Buffer,
  from: number,
  held: number,
  id: number,
  atEnd: boolean,
): { at: number; id: number | null } {
  let at = from;
  for (;;) {
    const start = nextFrameStart(bytes, at, held);
    if (start < 0) return { at: Math.max(at, held - headBytes), id: null };
    const frame = frameAt(bytes, start, held);
    if (frame.kind === "whole" && frame.id >= id) return { at: start, id: frame.id };
    const mayGoOn = frame.kind === "short" && !atEnd && held - start < frameBytesMax;
    if (mayGoOn) return { at: start, id: null };
    at = start + 1;
  }
}

function describe(spans: Spans, to: number, nextId: number): string {
  const bytes = `bytes ${spans.end} to ${to}`;
  if (nextId === spans.head + 1) return `${bytes} are no part of the record; no event is missing`;
  return `events ${spans.head + 1} to ${nextId - 1} (${bytes}) do not match their checksums`;
}

function tooDamaged(damage: readonly string[]): StoreError {
  return new StoreError(
    "damaged",
    `More than ${damageStretchesMax} stretches of the file are damaged (the first: ${damage[0]}). It is neither read nor ` +
      "written, and nothing was removed. Look at the disk, and restore the file from a backup while the server is stopped.",
  );
}
