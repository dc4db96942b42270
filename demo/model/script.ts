/** What the model stand-in is asked: the Messages API request, reduced to what a script decides by. */
export interface Asked {
  /** The newest prompt of a person. */
  readonly prompt: string;
  /** How many tool results have come since that prompt. */
  readonly step: number;
  /** The newest tool result's text, when the newest message is one. */
  readonly toolResult: { readonly text: string; readonly isError: boolean } | null;
  /** All tool results since that prompt, oldest first. */
  readonly toolResults: readonly string[];
  readonly model: string;
}

/** What the stand-in answers: blocks in order, or a fault. */
export type Answer =
  | { readonly kind: "blocks"; readonly blocks: readonly Block[]; readonly chunkDelayMs?: number }
  /** An API error before the stream: 401, 429, 500, 529, ... */
  | { readonly kind: "status"; readonly status: number; readonly type: string; readonly message: string }
  /** Accepts the request and never answers (before the headers) or never goes on (after `blocks`). */
  | { readonly kind: "hang"; readonly blocks?: readonly Block[] }
  /** Destroys the connection after `blocks`. */
  | { readonly kind: "drop"; readonly blocks: readonly Block[] };

export type Block =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool_use"; readonly name: string; readonly input: Readonly<Record<string, unknown>> };

export type Script = (asked: Asked) => Answer;
