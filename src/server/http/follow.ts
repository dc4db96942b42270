import type { ServerResponse } from "node:http";
import type { Live } from "../sessions/live.ts";
import { StoreError, type Frames, type Store } from "../store/store.ts";

/** One read from the log; also what a connection that does not read may hold in memory. */
const sliceBytes = 256 * 1024;

export interface FollowStart {
  /** The id after which the replay begins. */
  readonly after: number;
  /** Written before the replay: `retry:`, and `event: reset` where the client's id was beyond the head. */
  readonly preamble: string;
}

/**
 * One attached client: a cursor into the log, never a queue. It is woken, and reads from the log what it has not sent,
 * as fast as its socket takes it. What is unnumbered (deltas, target states) is sent only while the socket is free.
 */
export class Follower {
  readonly #response: ServerResponse;
  readonly #read: (after: number) => Promise<Frames | null>;
  readonly #live: Live;
  readonly #onError: (error: unknown) => void;
  #cursor: number;
  #shown: { block: Live["block"]; at: number; activity: Live["activity"] } = {
    block: null,
    at: 0,
    activity: null,
  };
  /** The newest of each name that a blocked socket has not taken: what holds now must reach whoever reads late. */
  readonly #held = new Map<string, string>();
  #pumping = false;
  #woken = false;
  #blocked = false;
  #caughtUp = false;
  #ended = false;
  #inGap = false;

  constructor(
    deps: {
      readonly store: Store;
      readonly stream: string;
      readonly live: Live;
      readonly onError: (error: unknown) => void;
    },
    response: ServerResponse,
    start: FollowStart,
  ) {
    this.#response = response;
    this.#read = (after) => deps.store.readFrames(deps.stream, after, sliceBytes);
    this.#live = deps.live;
    this.#onError = deps.onError;
    this.#cursor = start.after;
    response.on("drain", () => {
      this.#blocked = false;
      this.#sendHeld();
      this.wake();
    });
    // A client that has gone is told by "close"; what fails in between is no news.
    response.on("error", () => {});
    this.#write(start.preamble);
    this.wake();
  }

  /** What has just become durable: sent as it is when it is next in line, otherwise read from the log later. */
  take(frames: Frames): void {
    if (this.#caughtUp && !this.#pumping && !this.#blocked && frames.firstId === this.#cursor + 1) {
      this.#cursor = frames.lastId;
      this.#write(frames.bytes);
    } else if (frames.lastId > this.#cursor) {
      this.wake();
    }
  }

  wake(): void {
    this.#woken = true;
    if (!this.#pumping && !this.#blocked && !this.#ended) void this.#pump();
  }

  /** Live text and activity; skipped while the client does not keep up, since the stored Events bring the whole. */
  showLive(): void {
    if (!this.#caughtUp || this.#blocked || this.#ended) return;
    const { block, activity } = this.#live;
    if (block !== null) {
      const at = block === this.#shown.block ? this.#shown.at : 0;
      if (at < block.text.length) {
        const delta = { turn: block.turn, block: block.number, from: at, text: block.text.slice(at) };
        this.#write(named("delta", delta));
      }
      this.#shown = { ...this.#shown, block, at: block.text.length };
    }
    if (activity !== null && activity !== this.#shown.activity) {
      this.#write(named("activity", activity));
      this.#shown = { ...this.#shown, activity };
    }
  }

  /** A frame that is not part of the log; dropped while the client does not keep up. Answers whether it was sent. */
  send(frame: string): boolean {
    if (this.#blocked || this.#ended) return false;
    this.#write(frame);
    return true;
  }

  /** What holds now, by a name of its own: sent at once or as soon as the client reads; a newer one takes its place. */
  show(name: string, frame: string): void {
    if (!this.send(frame)) this.#held.set(name, frame);
  }

  end(lastFrame = ""): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#response.end(lastFrame);
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    try {
      while (this.#woken && !this.#blocked && !this.#ended) {
        this.#woken = false;
        await this.#sendNext();
      }
    } catch (error) {
      this.#onError(error);
      this.end(named("error", { detail: readFailed(error) }));
    } finally {
      this.#pumping = false;
    }
  }

  async #sendNext(): Promise<void> {
    const frames = await this.#read(this.#cursor).catch((error: unknown) => this.#skip(error));
    if (this.#ended || frames === "skipped") return;
    this.#inGap = false;
    if (frames !== null) {
      this.#cursor = frames.lastId;
      this.#write(frames.bytes);
      this.#woken = true;
    } else if (!this.#caughtUp) {
      this.#caughtUp = true;
      this.#write(named("caught-up", {}));
      this.showLive();
    }
  }

  /** What is damaged is told once and left out: behind it the log can be read. */
  #skip(error: unknown): "skipped" {
    if (!(error instanceof StoreError) || error.kind !== "damaged") throw error;
    if (!this.#inGap) this.#write(named("damage", { after: this.#cursor, detail: error.message }));
    this.#inGap = true;
    this.#cursor += 1;
    this.#woken = true;
    return "skipped";
  }

  #sendHeld(): void {
    for (const [name, frame] of this.#held) {
      if (!this.send(frame)) return;
      this.#held.delete(name);
    }
  }

  #write(data: string | Buffer): void {
    if (this.#ended || data.length === 0) return;
    if (!this.#response.write(data)) this.#blocked = true;
  }
}

/** An unnumbered, named frame. */
export function named(event: string, data: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

function readFailed(error: unknown): string {
  const what = error instanceof Error ? error.message : String(error);
  return `The record could not be read further: ${what} What was shown before stands. Verbs work without the record.`;
}
