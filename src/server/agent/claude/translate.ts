import type { AgentEvent, AgentNews } from "../agent.ts";
import { bounded, boundedInput } from "./bounds.ts";
import { explainResult } from "./failures.ts";
import type { Block, Message, Result } from "./messages.ts";

/** What has to be remembered from message to message. One for each process of the agent; `block` counts on over its Turns. */
export interface Reading {
  /** The agent has told its own id. */
  readonly announced: boolean;
  /** The live block, from 0; -1 before the first. */
  readonly block: number;
  /** What was streamed of the live block and is no Event yet. */
  readonly open: string;
  /** The newest message of the model and what has been told of it: its blocks come one by one, some of them again. */
  readonly message: string;
  readonly told: ReadonlySet<string>;
  /** The newest message broke off: the next one repeats it. */
  readonly abandoned: boolean;
  /** What the process had cost when the Turn began; null: unknown, its memory comes from another process. */
  readonly costUsd: number | null;
}

export const unread = (costUsd: number | null): Reading => ({
  announced: false,
  block: -1,
  open: "",
  message: "",
  told: new Set(),
  abandoned: false,
  costUsd,
});

export interface Said {
  readonly events: readonly AgentEvent[];
  readonly news: readonly AgentNews[];
  /** How the agent ended its Turn, in the message that does. */
  readonly end?: "done" | "failed";
}

const silent: Said = { events: [], news: [] };

/** One message of the agent in our words. Pure. */
export function translate(reading: Reading, message: Message): readonly [Reading, Said] {
  switch (message.type) {
    case "init":
      if (reading.announced) return [reading, silent];
      return [
        { ...reading, announced: true },
        { events: [{ kind: "session", session_id: message.agentSession }], news: [] },
      ];
    case "message_start":
      return [{ ...reading, open: "" }, silent];
    case "text_start":
      return [{ ...reading, block: reading.block + 1, open: "" }, silent];
    case "abandoned":
      return [{ ...reading, open: "", abandoned: true }, silent];
    case "text_delta":
      return [
        { ...reading, open: reading.open + message.text },
        { events: [], news: [{ name: "delta", block: Math.max(0, reading.block), text: message.text }] },
      ];
    case "assistant":
      return translateBlocks(reading, message.id, message.blocks);
    case "tool_results":
      return [
        reading,
        {
          events: message.results.map(({ id, isError, text, bytes }) => ({
            kind: "tool_result",
            tool_id: id,
            is_error: isError,
            ...(bytes !== undefined && { cut: { bytes, whole: null } }),
            ...bounded(text),
          })),
          news: [],
        },
      ];
    case "retry":
      return [reading, { events: [], news: [{ name: "activity", text: sayRetry(message) }] }];
    case "result":
      return translateResult(reading, message);
    case "unshown_delta":
    case "noise":
      return [reading, silent];
  }
}

function translateBlocks(reading: Reading, id: string, blocks: readonly Block[]): readonly [Reading, Said] {
  const told = new Set(reading.message === id || reading.abandoned ? reading.told : []);
  const events: AgentEvent[] = [];
  for (const block of blocks) {
    const key = block.type === "tool" ? block.id : `text ${block.text}`;
    if (told.has(key)) continue;
    told.add(key);
    if (block.type === "tool")
      events.push({ kind: "tool", name: block.name, input: boundedInput(block.input), tool_id: block.id });
    else if (block.text !== "") events.push({ kind: "text", text: bounded(block.text).text });
  }
  const open = blocks.some((block) => block.type === "text") ? "" : reading.open;
  return [
    { ...reading, message: id, told, abandoned: false, open },
    { events, news: [] },
  ];
}

function translateResult(reading: Reading, result: Result): readonly [Reading, Said] {
  const { costUsd, durationMs, isError } = result;
  const spent = costUsd === undefined || reading.costUsd === null ? undefined : costUsd - reading.costUsd;
  const event: AgentEvent = {
    kind: "result",
    is_error: isError,
    result: bounded(result.text).text,
    duration_ms: durationMs,
    ...(spent !== undefined && { cost_usd: Math.max(0, spent) }),
  };
  const error: AgentEvent[] = isError ? [{ kind: "error", error: explainResult(result) }] : [];
  return [
    { ...reading, open: "", costUsd: costUsd ?? reading.costUsd },
    { events: [event, ...error], news: [], end: isError ? "failed" : "done" },
  ];
}

function sayRetry({ attempt, of, delayMs, status }: Extract<Message, { type: "retry" }>): string {
  const what =
    status === null ? "The model cannot be reached" : `The model answered with an error (${status})`;
  return `${what}. Trying again in ${(delayMs / 1000).toFixed(1)} s (${attempt} of ${of}).`;
}
