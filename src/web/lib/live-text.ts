import type { Ephemeral, StoredEvent } from "../../protocol/events.ts";

export type Delta = Extract<Ephemeral, { name: "delta" }>;

/** The text of blocks that are not stored yet, by block number. */
export class LiveText {
  #blocks = new Map<number, string>();

  add(delta: Delta): void {
    const had = this.#blocks.get(delta.block) ?? "";
    // A piece is missing in between: the stored Event will bring the whole.
    if (delta.from > had.length) return;
    this.#blocks.set(delta.block, had.slice(0, delta.from) + delta.text);
  }

  /** A stored `text` supersedes its block and those before it. Deltas of the next block may have overtaken it. */
  settle(event: StoredEvent): void {
    if (event.kind === "turn_end" || event.kind === "user") this.clear();
    if (event.kind !== "text") return;
    const open = this.#inOrder();
    const at = Math.max(
      0,
      open.findIndex(([, text]) => event.text.startsWith(text)),
    );
    for (const [block] of open.slice(0, at + 1)) this.#blocks.delete(block);
  }

  blocks(): readonly string[] {
    return this.#inOrder().map(([, text]) => text);
  }

  clear(): void {
    this.#blocks.clear();
  }

  #inOrder(): [number, string][] {
    return [...this.#blocks].toSorted(([a], [b]) => a - b);
  }
}
