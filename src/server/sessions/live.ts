import type { AgentNews } from "../agent/agent.ts";
import type { TurnId } from "../../protocol/ids.ts";
import { openBlockCharsMax } from "./limits.ts";

/** What happens right now and is never stored: the open block of text, and what the Turn waits for. */
export class Live {
  /** The block that grows; null when the stored Events tell everything. */
  block: { readonly turn: TurnId; readonly number: number; text: string } | null = null;
  activity: { readonly turn: TurnId; readonly text: string } | null = null;
  readonly #onChange = new Set<() => void>();

  show(turn: TurnId, news: AgentNews): void {
    if (news.name === "activity") {
      this.activity = { turn, text: news.text };
    } else {
      if (this.block?.turn !== turn || this.block.number !== news.block) {
        this.block = { turn, number: news.block, text: "" };
      }
      if (this.block.text.length + news.text.length > openBlockCharsMax) return;
      this.block.text += news.text;
    }
    this.#changed();
  }

  /** The stored Event supersedes what was shown. */
  clear(): void {
    this.block = null;
    this.activity = null;
  }

  /** Somebody is attached. */
  get watched(): boolean {
    return this.#onChange.size > 0;
  }

  onChange(callback: () => void): () => void {
    this.#onChange.add(callback);
    return () => this.#onChange.delete(callback);
  }

  #changed(): void {
    for (const callback of this.#onChange) callback();
  }
}
