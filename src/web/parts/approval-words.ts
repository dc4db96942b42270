import type { ApprovalDecided } from "../../protocol/events.ts";
import { visibleText } from "../../protocol/visible.ts";
import type { Tone } from "./words.ts";

interface Said {
  readonly tone: Tone;
  readonly headline: string;
  readonly detail: string;
}

/** Of a longer reason the beginning is shown. UTF-16 units; the Broker's own sentences are far shorter. */
const whyMax = 500;

/** Why it is asked, in which parts may come from a machine. */
export function whyWords(why: string): string {
  const whole = visibleText(why.slice(0, whyMax + 1));
  return whole.length > whyMax ? `${whole.slice(0, whyMax - 1)}…` : whole;
}

/** How a request was decided, in words. Only an approved one runs. */
export function decidedWords({
  decision,
  reason,
  by,
}: Pick<ApprovalDecided, "decision" | "reason"> & { readonly by?: string }): Said {
  const who = by === undefined ? "" : ` by ${by}`;
  switch (decision) {
    case "approved":
      return {
        tone: "good",
        headline: `Approved${who}.`,
        detail: reason ?? "It is carried out once, exactly as shown.",
      };
    case "denied":
      return {
        tone: "warning",
        headline: `Denied${who}.`,
        detail: reason ?? "Nothing was run. The agent is told so.",
      };
    case "expired":
      return {
        tone: "warning",
        headline: "Expired.",
        detail: reason ?? "Nobody answered in time. Nothing was run.",
      };
    case "void":
      return {
        tone: "warning",
        headline: "Void.",
        detail: reason ?? "What it was asked for no longer holds. Nothing was run.",
      };
  }
}
