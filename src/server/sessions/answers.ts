import type { Frozen, ModeNow, RunbookBrief } from "../../protocol/api.ts";

export interface Prompt {
  readonly text: string;
  readonly model: string | undefined;
  readonly key: string | undefined;
  readonly by: string;
}

export interface RunbookAsk {
  readonly runbook: RunbookBrief;
  readonly target: string;
  readonly key: string | undefined;
  readonly by: string;
}

/** What may happen to a prompt or a Runbook. "unrecorded": it could not be written down, so nothing was started. */
export type StartAnswer =
  | { readonly kind: "started" }
  | { readonly kind: "running" }
  | ({ readonly kind: "frozen" } & Frozen)
  | { readonly kind: "too_many"; readonly turnsAtOnceMax: number }
  | { readonly kind: "no_room"; readonly freeBytes: number }
  | { readonly kind: "unrecorded"; readonly reason: string }
  | { readonly kind: "closing" };

/**
 * "unrecorded": `holds` tells whether it holds all the same, until the server restarts. "overtaken": another wish came in
 * behind it, and `mode` is what holds.
 */
export type ModeAnswer =
  | { readonly kind: "set"; readonly mode: ModeNow }
  | { readonly kind: "overtaken"; readonly mode: ModeNow }
  | { readonly kind: "unrecorded"; readonly holds: boolean; readonly reason: string };
