import type { ExecSettled } from "../../protocol/events.ts";
import { Excerpt } from "./excerpt.ts";
import type { Channel } from "./sink.ts";

/** What a command says, for the record. */
export class Output {
  readonly #excerpt = new Excerpt();

  /** Of both channels. */
  get bytes(): number {
    return this.#excerpt.bytes;
  }

  take(_channel: Channel, chunk: Buffer): void {
    this.#excerpt.take(chunk);
  }

  fields(): Pick<ExecSettled, "bytes" | "excerpt" | "cut"> {
    return this.#excerpt.fields();
  }
}
