import type { ExecSettled } from "../../protocol/events.ts";
import { Excerpt } from "./excerpt.ts";
import type { KeptOutput } from "./kept.ts";
import type { Channel } from "./sink.ts";

/** What a command says, for the record: an excerpt, and the whole where that is not all of it. */
export class Output {
  readonly #excerpt = new Excerpt();
  readonly #kept: KeptOutput;
  /** Where the whole can be read, once it is kept. */
  readonly #path: string;

  constructor(kept: KeptOutput, path: string) {
    this.#kept = kept;
    this.#path = path;
  }

  /** Of both channels. */
  get bytes(): number {
    return this.#excerpt.bytes;
  }

  take(channel: Channel, chunk: Buffer): void {
    this.#excerpt.take(chunk);
    this.#kept.take(channel, chunk);
    if (!this.#excerpt.isWhole) this.#kept.begin();
  }

  /** No more comes. */
  async end(): Promise<Pick<ExecSettled, "bytes" | "excerpt" | "cut">> {
    const { bytes } = this;
    const kept = await this.#kept.end();
    if (this.#excerpt.isWhole) return { bytes, excerpt: this.#excerpt.text() };
    if (!kept.kept)
      return {
        bytes,
        excerpt: this.#excerpt.text(`, and not kept. ${kept.because}`),
        cut: { bytes, whole: null },
      };
    return { bytes, excerpt: this.#excerpt.text(), cut: { bytes, whole: this.#path } };
  }
}
