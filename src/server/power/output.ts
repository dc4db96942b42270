import type { Clock } from "../clock.ts";

/** Kept of one Operation's output, both channels together; what comes after is dropped, and the text says so. */
const operationOutputBytesMax = 128 * 1024;
/** Output is recorded in pieces: at the latest after this time, or at this size. */
const batchMs = 200;
const batchCharsMax = 16 * 1024;

/** One Operation's output: whole for who asks, in pieces for who follows, in batches for the record. */
export class Output {
  text = "";
  #bytes = 0;
  #full = false;
  /** Where the batch that is not yet recorded begins. */
  #recordedTo = 0;
  #callOff: (() => void) | null = null;
  readonly #clock: Clock;
  readonly #onPiece: (from: number, text: string) => void;
  readonly #onBatch: (from: number, text: string) => void;

  constructor(
    clock: Clock,
    onPiece: (from: number, text: string) => void,
    onBatch: (from: number, text: string) => void,
  ) {
    this.#clock = clock;
    this.#onPiece = onPiece;
    this.#onBatch = onBatch;
  }

  add(text: string): void {
    if (this.#full || text === "") return;
    const bytes = Buffer.byteLength(text);
    this.#full = this.#bytes + bytes > operationOutputBytesMax;
    const kept = this.#full
      ? `${cutTo(text, operationOutputBytesMax - this.#bytes)}\n[more output was not kept]\n`
      : text;
    this.#bytes += bytes;
    const from = this.text.length;
    this.text += kept;
    this.#onPiece(from, kept);
    if (this.text.length - this.#recordedTo >= batchCharsMax) this.flush();
    else this.#callOff ??= this.#clock.after(batchMs, () => this.flush());
  }

  flush(): void {
    this.#callOff?.();
    this.#callOff = null;
    const from = this.#recordedTo;
    if (from === this.text.length) return;
    this.#recordedTo = this.text.length;
    this.#onBatch(from, this.text.slice(from));
  }
}

/** The first bytes of a text, never ending within a character. */
function cutTo(text: string, bytes: number): string {
  const cut = Buffer.from(text).subarray(0, Math.max(0, bytes));
  return cut.toString().replace(/\uFFFD+$/, "");
}
