import { setImmediate as othersFirst } from "node:timers/promises";
import type { SessionId } from "../../protocol/ids.ts";
import { within, type Clock } from "../clock.ts";
import { readable } from "../store/readable.ts";
import type { Body, Store, StreamName } from "../store/store.ts";
import { Pieces } from "./pieces.ts";
import { Redacting } from "./redacting.ts";
import type { Channel } from "./sink.ts";

type KeptStore = Pick<Store, "append" | "head" | "read" | "list" | "freeBytes">;

export interface KeptDeps {
  readonly store: KeptStore;
  readonly clock: Clock;
  readonly log: (text: string) => void;
}

/** Kept of one command: this much of its beginning as it comes, and of its end; what lies between is counted. */
const keptBytesMax = 4 * 1024 * 1024;
const tailBytesMax = 1024 * 1024;
const headBytesMax = keptBytesMax - tailBytesMax;
/** Of one Session; a further command has its excerpt only. */
const keptPerSessionBytesMax = 256 * 1024 * 1024;
/** Held in memory for one Session while the store is slower than its commands; one more is not kept. */
const heldBytesMax = 32 * 1024 * 1024;
/** With less free where the record is kept, nothing but events is written there. */
const freeBytesMin = 128 * 1024 * 1024;
/** Written at a time, and in one record. */
const appendBytesMax = 256 * 1024;
const recordCharactersMax = 64 * 1024;
/** A command that has ended waits so long for the store; what is not kept by then is said not to be. */
const endMsMax = 3_000;

/** One stream per command. */
const stream = (session: SessionId, n: number): StreamName => `exec/${session}-${n}`;

/** What the commands of one Session have said, beyond their excerpts. */
export class KeptOutputs {
  readonly #deps: KeptDeps;
  readonly #session: SessionId;
  /** In the store, as far as that is known without reading it: a record counts for its largest size. */
  #stored: Promise<number> | null = null;
  #reserved = 0;
  #held = 0;

  constructor(deps: KeptDeps, session: SessionId) {
    this.#deps = deps;
    this.#session = session;
  }

  of(n: number): KeptOutput {
    const held = (bytes: number) => {
      this.#held += bytes;
      return this.#held <= heldBytesMax;
    };
    return new KeptOutput(this.#deps, stream(this.#session, n), { admit: () => this.#admit(), held });
  }

  /** Why there is no room for one more, or null. */
  async #admit(): Promise<string | null> {
    this.#reserved += keptBytesMax;
    const reserved = this.#reserved;
    if ((await this.#deps.store.freeBytes()) < freeBytesMin) return "The disk of the record is nearly full.";
    if ((await (this.#stored ??= this.#count())) + reserved <= keptPerSessionBytesMax) return null;
    this.#reserved -= keptBytesMax;
    return `This session has kept ${keptPerSessionBytesMax / 1024 / 1024} MiB of output, which is as much as it may.`;
  }

  async #count(): Promise<number> {
    const { store } = this.#deps;
    let bytes = 0;
    for (const name of await store.list(stream(this.#session, 0).slice(0, -1))) {
      bytes += ((await store.head(name)) + 1) * recordCharactersMax;
      if (bytes >= keptPerSessionBytesMax) break;
    }
    return bytes;
  }
}

interface Room {
  /** Asked before the first record: why it may not be kept, or null. */
  readonly admit: () => Promise<string | null>;
  /** So much more is held in memory (or less); false: that is too much. */
  readonly held: (bytes: number) => boolean;
}

/** What one command says: nothing of it waits for the store. */
export class KeptOutput {
  readonly #deps: KeptDeps;
  readonly #stream: StreamName;
  readonly #room: Room;
  readonly #head = new Pieces();
  readonly #tail = new Pieces();
  #headRoom = headBytesMax;
  #leftOut = 0;
  /** Why it is not kept; null: it is. */
  #givenUp: string | null = null;
  #keeping: Promise<void> | null = null;
  #ended = false;
  #news = Promise.withResolvers<void>();
  #redacting = { stdout: new Redacting(), stderr: new Redacting() };

  constructor(deps: KeptDeps, stream: StreamName, room: Room) {
    this.#deps = deps;
    this.#stream = stream;
    this.#room = room;
  }

  take(channel: Channel, chunk: Buffer): void {
    if (this.#givenUp !== null) return;
    const before = this.#cost();
    const head = chunk.subarray(0, Math.max(0, this.#headRoom));
    const headCost = this.#head.cost;
    this.#head.push(channel, head);
    this.#headRoom -= Math.max(head.length, this.#head.cost - headCost);
    this.#tail.push(channel, chunk.subarray(head.length));
    while (this.#tail.cost > tailBytesMax) this.#leftOut += this.#tail.shift()!.bytes.length;
    if (!this.#room.held(this.#cost() - before))
      this.#giveUp("The record's disk is slower than the commands.");
    this.#news.resolve();
  }

  /** There is more of it than an excerpt shows: from now on it is written. */
  begin(): void {
    this.#keeping ??= this.#keep();
  }

  /** Whether all that is to be kept is in the store; or why not. Resolves within `endMsMax`. */
  async end(): Promise<{ readonly kept: true } | { readonly kept: false; readonly because: string }> {
    this.#ended = true;
    this.#news.resolve();
    if (
      this.#keeping !== null &&
      (await within(
        this.#deps.clock,
        endMsMax,
        this.#keeping.then(() => true),
      )) === null
    )
      this.#giveUp("The record's disk did not take it in time.");
    const because = this.#givenUp;
    this.#giveUp("It is over.");
    return because === null ? { kept: true } : { kept: false, because };
  }

  /** Never rejects: what the store refuses ends the keeping, and nothing else. */
  async #keep(): Promise<void> {
    try {
      const refusal = await this.#room.admit();
      if (refusal !== null) return this.#giveUp(refusal);
      for (;;) {
        this.#news = Promise.withResolvers();
        while (!this.#head.isEmpty) await this.#append(await this.#recordsOf(this.#head));
        if (this.#ended || this.#givenUp !== null) break;
        await this.#news.promise;
      }
      if (this.#leftOut > 0) await this.#append(this.#gap());
      while (!this.#tail.isEmpty) await this.#append(await this.#recordsOf(this.#tail));
      await this.#append(this.#ends());
    } catch (error) {
      this.#deps.log(`broker: the output in ${this.#stream} could not be kept: ${String(error)}`);
      this.#giveUp("The record's disk did not take it.");
    }
  }

  /** The next of them, redacted, as much as is written at a time. */
  async #recordsOf(pieces: Pieces): Promise<Body[]> {
    const records: OutputRecord[] = [];
    for (let bytes = 0; bytes < appendBytesMax;) {
      const piece = this.#shift(pieces);
      if (piece === null) break;
      add(records, piece.channel, this.#redacting[piece.channel].take(piece.bytes));
      bytes += piece.bytes.length;
      // Redacting takes its time, and others want theirs.
      await othersFirst();
    }
    return records;
  }

  /** Between the beginning and the end: neither may show half of what is a secret as a whole. */
  #gap(): Body[] {
    const ends = this.#ends();
    this.#redacting = {
      stdout: new Redacting({ fromMiddle: true }),
      stderr: new Redacting({ fromMiddle: true }),
    };
    return [...ends, { kind: "left_out", bytes: this.#leftOut }];
  }

  #ends(): Body[] {
    const records: OutputRecord[] = [];
    for (const channel of ["stdout", "stderr"] as const)
      add(records, channel, this.#redacting[channel].end());
    return records;
  }

  async #append(records: readonly Body[]): Promise<void> {
    if (records.length > 0 && this.#givenUp === null) await this.#deps.store.append(this.#stream, records);
  }

  #shift(pieces: Pieces): ReturnType<Pieces["shift"]> {
    const before = pieces.cost;
    const piece = pieces.shift();
    this.#room.held(pieces.cost - before);
    return piece;
  }

  #cost(): number {
    return this.#head.cost + this.#tail.cost;
  }

  #giveUp(because: string): void {
    this.#givenUp ??= because;
    for (const pieces of [this.#head, this.#tail]) while (this.#shift(pieces) !== null);
    this.#news.resolve();
  }
}

type OutputRecord = { readonly kind: "output"; readonly channel: Channel; text: string };

function add(records: OutputRecord[], channel: Channel, text: string): void {
  for (let from = 0; from < text.length;) {
    let last = records.at(-1);
    if (last?.channel !== channel || last.text.length >= recordCharactersMax)
      records.push((last = { kind: "output", channel, text: "" }));
    const part = text.slice(from, from + recordCharactersMax - last.text.length);
    last.text += part;
    from += part.length;
  }
}

/** What was kept of a command, as text; null: nothing was. */
export async function readKept(
  store: Pick<Store, "head" | "read">,
  session: SessionId,
  n: number,
): Promise<AsyncIterable<string> | null> {
  const name = stream(session, n);
  return (await store.head(name)) < 0 ? null : texts(store, name);
}

async function* texts(store: Pick<Store, "head" | "read">, name: StreamName): AsyncGenerator<string> {
  let damaged = false;
  for await (const record of readable(store, name, () => (damaged = true))) {
    if (damaged) yield "\n[a part of this is damaged on disk, and left out]\n";
    damaged = false;
    if (record.kind === "output") yield String(record["text"]);
    if (record.kind === "left_out") yield `\n[${String(record["bytes"])} bytes left out]\n`;
  }
}
