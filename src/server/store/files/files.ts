import { join, resolve } from "node:path";
import { systemClock, type Clock } from "../../clock.ts";
import {
  StoreError,
  type Body,
  type Frames,
  type Store,
  type StoredRecord,
  type StreamName,
} from "../store.ts";
import { prepareDirectory } from "./directory.ts";
import { nodeDisk, type Disk } from "./disk.ts";
import { unwritable } from "./faults.ts";
import { parseFrames } from "./frame.ts";
import { CommitGate } from "./gate.ts";
import { takeLease, type Lease } from "./lease.ts";
import { Slices } from "./slices.ts";
import { spanBytesMax } from "./spans.ts";
import { Stream, type StreamDeps } from "./stream.ts";

export interface FilesOptions {
  /** The data directory; made with 0700 if it is not there. */
  readonly directory: string;
  /** One sentence for the log, for example what recovery cut off. */
  readonly report?: (notice: string) => void;
  readonly clock?: Clock;
  readonly disk?: Disk;
  /** Waiting or being written, over all streams; a quarter of it in one. Beyond it appends are refused: "overloaded". */
  readonly queuedBytesMax?: number;
  /** Files open at once. Beyond it the longest unused is closed; when all are in use, opening is refused: "overloaded". */
  readonly openStreamsMax?: number;
  /** What was read last and may be read again by somebody else. Beyond it the longest unused goes. */
  readonly cacheBytesMax?: number;
}

const defaults = { queuedBytesMax: 64 * 1024 * 1024, openStreamsMax: 256, cacheBytesMax: 8 * 1024 * 1024 };

/** Then `freeBytes` throws: a disk that hangs answers nothing. */
const freeBytesWaitMs = 500;

/** What is in flight has this long to settle on `close`; a server has 5 s to end. */
const closeWaitMs = 3000;

const streamName = /^[a-z0-9][a-z0-9-]{0,99}(\/[a-z0-9][a-z0-9-]{0,99})?$/;
const suffix = ".sse";

/**
 * The embedded store: one append-only file per stream in wire format, `<directory>/streams/<name>.sse`. Throws a
 * StoreError "taken" when another process has the directory, "unwritable" when it takes no durable write.
 */
export async function openFiles(options: FilesOptions): Promise<Store> {
  const directory = resolve(options.directory);
  const disk = options.disk ?? nodeDisk;
  const report = options.report ?? (() => {});
  await prepareDirectory(disk, directory, report);
  return new Files({ ...options, directory, disk, report }, await takeLease(disk, directory));
}

class Files implements Store {
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #lease: Lease;
  readonly #openStreamsMax: number;
  readonly #streamDeps: StreamDeps;
  /** The longest unused first. */
  readonly #streams = new Map<StreamName, Stream>();
  #open = 0;
  #closing: Promise<void> | undefined;
  #freeAsked: Promise<number> | undefined;

  constructor(
    options: FilesOptions & { readonly disk: Disk; readonly report: (notice: string) => void },
    lease: Lease,
  ) {
    const queuedBytesMax = options.queuedBytesMax ?? defaults.queuedBytesMax;
    this.#directory = join(options.directory, "streams");
    this.#disk = options.disk;
    this.#clock = options.clock ?? systemClock;
    this.#lease = lease;
    this.#openStreamsMax = options.openStreamsMax ?? defaults.openStreamsMax;
    this.#streamDeps = {
      disk: options.disk,
      report: options.report,
      syncedDirectories: new Set(),
      gate: new CommitGate(this.#clock),
      slices: new Slices(options.cacheBytesMax ?? defaults.cacheBytesMax),
      queue: { bytes: 0, bytesMax: queuedBytesMax, streamBytesMax: queuedBytesMax / 4 },
      makeRoom: () => this.#makeRoom(),
      roomFreed: () => this.#open--,
    };
  }

  async append(name: StreamName, bodies: readonly Body[], options?: { readonly expectedHead?: number }) {
    return this.#with(name, (stream) => stream.append(bodies, options?.expectedHead));
  }

  async head(name: StreamName): Promise<number> {
    return this.#with(name, (stream) => stream.head());
  }

  async readFrames(name: StreamName, after: number, bytesMax: number): Promise<Frames | null> {
    return this.#with(name, (stream) => stream.readFrames(after, bytesMax));
  }

  async read(name: StreamName, after: number, limit: number): Promise<readonly StoredRecord[]> {
    const records: StoredRecord[] = [];
    let last = after;
    while (records.length < limit) {
      const frames = await this.readFrames(name, last, spanBytesMax);
      if (frames === null) break;
      for (const record of parseFrames(frames.bytes, limit - records.length)) records.push(record);
      last = frames.lastId;
    }
    return records;
  }

  watch(name: StreamName, onCommit: (frames: Frames) => void): () => void {
    const stream = this.#stream(name);
    const end = stream.watch(onCommit);
    return () => {
      end();
      this.#forget(name, stream);
    };
  }

  async list(prefix: string): Promise<readonly StreamName[]> {
    this.#refuseWhenClosed();
    const names: StreamName[] = [];
    for (const entry of await this.#entries("")) {
      const inside = `${entry.name}/`;
      if (!entry.isDirectory()) names.push(entry.name);
      else if (inside.startsWith(prefix) || prefix.startsWith(inside)) {
        names.push(...(await this.#entries(entry.name)).map((file) => inside + file.name));
      }
    }
    return names
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
      .filter((name) => name.startsWith(prefix) && streamName.test(name))
      .toSorted();
  }

  async freeBytes(): Promise<number> {
    this.#refuseWhenClosed();
    // One question at a time: each that hangs keeps one of Node's few threads.
    this.#freeAsked ??= this.#disk.freeBytes(this.#directory).finally(() => (this.#freeAsked = undefined));
    return within(this.#clock, freeBytesWaitMs, this.#freeAsked, () => {
      throw new StoreError(
        "unknown",
        `How much space is free at ${this.#directory} was not answered in ${freeBytesWaitMs} ms: the disk hangs. Look at it.`,
      );
    });
  }

  /**
   * When the disk does not answer in time, what waits is refused, this throws "unknown", and the directory stays taken
   * until the process ends: a write that is still under way must not meet those of another process.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const streams = [...this.#streams.values()];
    const settled = Promise.all(streams.map((stream) => stream.settled().then(() => stream.letGo())));
    await within(this.#clock, closeWaitMs, settled, () => {
      for (const stream of streams) stream.abandon();
      throw new StoreError(
        "unknown",
        `The disk under ${this.#directory} did not answer in ${closeWaitMs} ms. What was acknowledged is safe; whether the ` +
          "last appends were stored is not known. The directory is free when this process has ended.",
      );
    });
    this.#lease.release();
  }

  async #with<T>(name: StreamName, use: (stream: Stream) => Promise<T>): Promise<T> {
    const stream = this.#stream(name);
    try {
      return await use(stream);
    } finally {
      this.#forget(name, stream);
    }
  }

  #stream(name: StreamName): Stream {
    this.#refuseWhenClosed();
    let stream = this.#streams.get(name);
    if (stream !== undefined) {
      this.#streams.delete(name);
    } else {
      // Names are made by us, from ids that were checked at the door.
      if (!streamName.test(name)) throw new TypeError(`${JSON.stringify(name)} is no name of a stream.`);
      stream = new Stream(this.#streamDeps, name, join(this.#directory, name + suffix));
    }
    this.#streams.set(name, stream);
    return stream;
  }

  #forget(name: StreamName, stream: Stream): void {
    if (stream.forgettable && this.#streams.get(name) === stream) this.#streams.delete(name);
  }

  async #makeRoom(): Promise<void> {
    const unused = this.#open < this.#openStreamsMax ? undefined : this.#longestUnused();
    if (this.#open >= this.#openStreamsMax && unused === undefined) {
      throw new StoreError(
        "overloaded",
        `All ${this.#openStreamsMax} files that may be open are in use. Nothing was stored or read; try again.`,
      );
    }
    this.#open++;
    if (unused === undefined) return;
    const [name, stream] = unused;
    const closed = stream.letGo();
    this.#forget(name, stream);
    await closed;
  }

  #longestUnused(): [StreamName, Stream] | undefined {
    for (const entry of this.#streams) if (entry[1].isOpen && entry[1].idle) return entry;
    return undefined;
  }

  async #entries(folder: string) {
    try {
      return await this.#disk.readdir(join(this.#directory, folder));
    } catch (error) {
      throw unwritable(`The streams in ${join(this.#directory, folder)} cannot be listed`, error);
    }
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== undefined)
      throw new StoreError("closed", "The store is closed: the server is ending. Nothing was stored.");
  }
}

/** `work`, or what `late` throws when it has not ended after `ms`. */
async function within<T>(clock: Clock, ms: number, work: Promise<T>, late: () => never): Promise<T> {
  let callOff = () => {};
  const deadline = new Promise<never>((_, reject) => {
    callOff = clock.after(ms, () => {
      try {
        late();
      } catch (error) {
        reject(error);
      }
    });
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    callOff();
  }
}
