import type { Isolation, Mode, ModeNow } from "../../protocol/api.ts";
import { span } from "./words.ts";

/** What a mode lets the agent do, in one sentence each. */
export const modeSays: Readonly<Record<Mode, string>> = {
  observe:
    "It only looks, with the account that owns nothing; where a machine has none, every command waits for your yes. What is privileged, and every verb that touches the machine, is refused.",
  supervised:
    "It looks freely with the account that owns nothing. Every privileged command and every verb that touches the machine waits for your yes.",
  autonomous:
    "It acts as the privileged account by itself. Verbs run too: at most two an hour and machine, then it asks.",
};

/** Where the agent runs, as a heading. Only a cage that we build ourselves is called one; what holds else is for `says`. */
export const isolationWords: Readonly<Record<Isolation["kind"], string>> = {
  none: "Not confined",
  bubblewrap: "Confined: bubblewrap",
  account: "Another account",
  runner: "A program of its own",
};

/** How much is left of a grant: "12 min"; empty where there is no end. */
export function grantLeft({ until }: ModeNow, now: number): string {
  if (until === undefined) return "";
  const leftMs = Math.max(0, Date.parse(until) - now);
  return leftMs < 60_000 ? span(leftMs) : `${Math.ceil(leftMs / 60_000)} min`;
}
