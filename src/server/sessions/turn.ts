import type { TurnId } from "../../protocol/ids.ts";
import { turnOutputBytesMax } from "./limits.ts";

/** Why a Turn was stopped. */
export type StopReason =
  | { readonly kind: "cancelled"; readonly by: string }
  | { readonly kind: "interrupted" }
  | { readonly kind: "frozen"; readonly by: string }
  | { readonly kind: "limit"; readonly error: string };

/** What runs in a Session. */
export class Turn {
  readonly id: TurnId;
  readonly ended: Promise<void>;
  readonly over: () => void;
  readonly #stop = new AbortController();
  #bytes = 0;

  constructor(id: TurnId) {
    this.id = id;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.over = resolve;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** undefined: nobody has stopped it. */
  get why(): StopReason | undefined {
    return this.signal.aborted ? (this.signal.reason as StopReason) : undefined;
  }

  /** The first reason counts. */
  stop(why: StopReason): void {
    this.#stop.abort(why);
  }

  count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > turnOutputBytesMax) this.stop({ kind: "limit", error: tooMuch });
  }
}

const tooMuch = `This turn said more than ${turnOutputBytesMax / 1024 / 1024} MiB and was ended; what it said after that is left out. What was recorded before is whole. Ask for less at a time.`;
