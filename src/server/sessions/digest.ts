import type { StoredEvent } from "../../protocol/events.ts";
import { digestCharsMax } from "./limits.ts";

/** The newest part of what was said and done, for an agent whose own memory is gone. */
export function digestOf(events: readonly StoredEvent[]): string {
  const lines: string[] = [];
  let room = digestCharsMax;
  for (const event of events.toReversed()) {
    const line = lineOf(event);
    if (line === null) continue;
    room -= line.length + 1;
    if (room < 0) {
      lines.push("(what was said before is left out)");
      break;
    }
    lines.push(line);
  }
  return lines.toReversed().join("\n");
}

const excerptCharsMax = 600;

function lineOf(event: StoredEvent): string | null {
  switch (event.kind) {
    case "user":
      return `Operator: ${brief(event.text)}`;
    case "text":
      return `You: ${brief(event.text)}`;
    case "exec":
      return event.phase === "settled"
        ? `Ran on ${event.target} as ${event.account}: ${brief(event.command)} -> ${JSON.stringify(event.end)} ${brief(event.excerpt)}`
        : null;
    case "operation":
      return event.phase === "settled"
        ? `Verb ${event.verb} on ${event.target}: ${JSON.stringify(event.outcome)}`
        : null;
    case "approval":
      return `Asked the operator: ${brief(event.command)} on ${event.target} as ${event.account}`;
    case "decision":
      return `The operator's answer: ${event.decision}`;
    case "mode":
      return `The mode became ${event.mode}.`;
    case "runbook":
      return event.phase === "settled"
        ? `Runbook ${event.title} on ${event.target}: ${brief(event.summary)}`
        : null;
    case "error":
      return `Failed: ${brief(event.error)}`;
    case "interrupted":
      return `Interrupted. Unknown: ${event.unknown.join("; ") || "nothing"}`;
    default:
      return null;
  }
}

function brief(text: string): string {
  return text.length <= excerptCharsMax
    ? text
    : `${text.slice(0, excerptCharsMax)} [${text.length - excerptCharsMax} more characters]`;
}
