import { StoreError, type Body, type Frames, type StreamName } from "../store.ts";
import { encodeBody, encodeFrame, type Payload } from "./frame.ts";
import type { CommitGate } from "./gate.ts";
import type { Slices } from "./slices.ts";
import { openStreamFile, type StreamFile, type StreamFileDeps } from "./stream-file.ts";

export interface StreamDeps extends StreamFileDeps {
  readonly gate: CommitGate;
  readonly slices: Slices;
  readonly queue: QueueBounds;
  /** Called before a file is opened; throws "overloaded" when no more may be. `roomFreed` follows when it is let go. */
  readonly makeRoom: () => Promise<void>;
  readonly roomFreed: () => void;
}

/** What waits or is being written, over all streams and in each: an append beyond it is refused as "overloaded". */
interface QueueBounds {
  readonly bytesMax: number;
  readonly streamBytesMax: number;
  bytes: number;
}

export interface Appended {
  readonly firstId: number;
  readonly lastId: number;
}

interface Waiting {
  readonly payloads: readonly Payload[];
  readonly bytes: number;
  readonly expectedHead: number | undefined;
  readonly resolve: (ids: Appended) => void;
  readonly reject: (error: unknown) => void;
}

/** One commit takes no more than this, or one append that alone is longer; the rest is the next commit. */
const commitBytesMax = 8 * 1024 * 1024;

/** One stream: its queue, its commits, its watchers, and its file while somebody needs it. */
export class Stream {
  readonly #deps: StreamDeps;
  readonly #name: StreamName;
  readonly #path: string;
  readonly #watchers = new Set<(frames: Frames) => void>();
  #waiting: Waiting[] = [];
  #committing: readonly Waiting[] = [];
  #queuedBytes = 0;
  #draining: Promise<void> | undefined;
  #file: StreamFile | undefined;
  #opening: Promise<unknown> = Promise.resolve();
  #readers = 0;

  constructor(deps: StreamDeps, name: StreamName, path: string) {
    this.#deps = deps;
    this.#name = name;
    this.#path = path;
  }

  /** Nothing is under way here: its file may be let go. A poisoned one still knows where it must be cut. */
  get idle(): boolean {
    return this.#draining === undefined && this.#readers === 0 && this.#file?.poisoned !== true;
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  /** Nothing is known here that a new object would not find out. */
  get forgettable(): boolean {
    return this.idle && !this.isOpen && this.#watchers.size === 0;
  }

  /** Resolves once everything that was appended has been settled, and no file is being opened. */
  async settled(): Promise<void> {
    await this.#draining;
    await this.#opening;
  }

  append(bodies: readonly Body[], expectedHead: number | undefined): Promise<Appended> {
    const payloads = bodies.map(encodeBody);
    if (payloads.length === 0) throw new TypeError("An append needs at least one record.");
    const bytes = payloads.reduce((sum, payload) => sum + payload.bytesMax, 0);
    this.#refuseBeyondBounds(bytes);
    return new Promise((resolve, reject) => {
      this.#deps.queue.bytes += bytes;
      this.#queuedBytes += bytes;
      this.#waiting.push({ payloads, bytes, expectedHead, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Rejects what waits, and what is being written, of which nobody knows. */
  abandon(): void {
    const unknown = new StoreError(
      "unknown",
      `Whether this was stored in ${this.#name} is not known: the disk had not answered when the store was closed. Read on after the restart.`,
    );
    for (const waiting of this.#committing) waiting.reject(unknown);
    const closed = new StoreError(
      "closed",
      `The store was closed before this was written to ${this.#name}. Nothing of it was stored.`,
    );
    this.#rejectAll(this.#takeBatch(Infinity), closed);
  }

  head(): Promise<number> {
    return this.#reading((file) => file?.spans.head ?? -1);
  }

  readFrames(after: number, bytesMax: number): Promise<Frames | null> {
    return this.#reading(async (file) => {
      const firstId = Math.max(after, -1) + 1;
      if (file === undefined || firstId > file.spans.head) return null;
      const span = file.spans.find(firstId);
      if (span.damaged) throw this.#damaged(firstId, span.lastId);
      const slice = await this.#deps.slices.get(`${this.#name} ${span.offset}`, span, () => file.read(span));
      return slice.frames(firstId, span.lastId, bytesMax);
    });
  }

  watch(onCommit: (frames: Frames) => void): () => void {
    // A listener may be given twice: each watch ends by itself.
    const watcher = (frames: Frames) => onCommit(frames);
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Closes the file; the next one who needs it opens and verifies it again. Only when idle. */
  async letGo(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    this.#deps.roomFreed();
    await file.close();
  }

  /** One commit after the other; what arrives while one is in flight is the next one. */
  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      let file: StreamFile;
      try {
        file = (await this.#opened(true))!;
      } catch (error) {
        this.#rejectAll(this.#takeBatch(Infinity), error);
        continue;
      }
      await this.#deps.gate.run(() => this.#commit(file));
    }
    this.#draining = undefined;
  }

  async #commit(file: StreamFile): Promise<void> {
    const batch = this.#takeBatch(commitBytesMax);
    this.#committing = batch;
    const firstId = file.spans.head + 1;
    const frames: Buffer[] = [];
    const answers = batch.map((waiting) => {
      const head = firstId + frames.length - 1;
      if (waiting.expectedHead !== undefined && waiting.expectedHead !== head) {
        const moved = this.#headMoved(waiting.expectedHead, head);
        return () => waiting.reject(moved);
      }
      for (const payload of waiting.payloads) frames.push(encodeFrame(firstId + frames.length, payload));
      const ids = { firstId: head + 1, lastId: firstId + frames.length - 1 };
      return () => waiting.resolve(ids);
    });
    const bytes = Buffer.concat(frames);
    try {
      if (frames.length > 0) await file.append(bytes, endsOf(frames));
    } catch (error) {
      this.#rejectAll(batch, error);
      return;
    } finally {
      this.#committing = [];
    }
    this.#release(batch);
    for (const answer of answers) answer();
    if (frames.length > 0) this.#tell({ firstId, lastId: file.spans.head, bytes });
  }

  #tell(frames: Frames): void {
    for (const watcher of this.#watchers) {
      try {
        watcher(frames);
      } catch (error) {
        // A bug of the listener: the process hears of it, but neither the others nor the log suffer.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Keeps the file open for as long as `use` lasts; undefined when there is none. */
  async #reading<T>(use: (file: StreamFile | undefined) => T | Promise<T>): Promise<T> {
    this.#readers++;
    try {
      return await use(this.#file ?? (await this.#opened(false)));
    } finally {
      this.#readers--;
    }
  }

  /** One opening at a time; each asker hears of its own failure. */
  #opened(create: boolean): Promise<StreamFile | undefined> {
    if (this.#file !== undefined) return Promise.resolve(this.#file);
    const mine = this.#opening.then(() => this.#file ?? this.#open(create));
    this.#opening = mine.catch(() => undefined);
    return mine;
  }

  async #open(create: boolean): Promise<StreamFile | undefined> {
    await this.#deps.makeRoom();
    try {
      this.#file = await this.#deps.gate.run(() => openStreamFile(this.#deps, this.#path, { create }));
      return this.#file;
    } finally {
      if (this.#file === undefined) this.#deps.roomFreed();
    }
  }

  #takeBatch(bytesMax: number): readonly Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      if (count > 0 && bytes + waiting.bytes > bytesMax) break;
      bytes += waiting.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #rejectAll(batch: readonly Waiting[], error: unknown): void {
    this.#release(batch);
    for (const waiting of batch) waiting.reject(error);
  }

  #release(batch: readonly Waiting[]): void {
    for (const { bytes } of batch) {
      this.#queuedBytes -= bytes;
      this.#deps.queue.bytes -= bytes;
    }
  }

  /** Where nothing waits, one append is always taken: else one that is longer than the bound never could be. */
  #refuseBeyondBounds(bytes: number): void {
    const { queue } = this.#deps;
    const fits = (waiting: number, bytesMax: number) => waiting === 0 || waiting + bytes <= bytesMax;
    if (fits(queue.bytes, queue.bytesMax) && fits(this.#queuedBytes, queue.streamBytesMax)) return;
    throw new StoreError(
      "overloaded",
      `${this.#queuedBytes} bytes wait to be written to ${this.#name}, ${queue.bytes} to all streams: the disk is slow or ` +
        "hangs. Nothing of this was stored; what is acknowledged is safe. Look at the disk, then try again.",
    );
  }

  #headMoved(expected: number, head: number): StoreError {
    return new StoreError(
      "head_moved",
      `${this.#name} is at ${head}, not at ${expected}: somebody else appended first. Nothing of this was stored; read on and decide again.`,
    );
  }

  #damaged(firstId: number, lastId: number): StoreError {
    return new StoreError(
      "damaged",
      `Events ${firstId} to ${lastId} in ${this.#path} do not match their checksums and are not shown; what is before and ` +
        "behind them can be read. Look at the disk, and restore the file from a backup while the server is stopped.",
    );
  }
}

function endsOf(frames: readonly Buffer[]): number[] {
  let end = 0;
  return frames.map((frame) => (end += frame.length));
}
