/** What we read of the SDK's messages. Facts about them: docs of the SDK's sdk.d.ts (SDKMessage); all else is noise. */
export type Message =
  | { readonly type: "init"; readonly agentSession: string }
  /** A new message of the model begins: what was streamed of an unfinished one is void. */
  | { readonly type: "message_start" }
  | { readonly type: "text_start" }
  /** The stream broke: what came of this message will be said again by the next one. */
  | { readonly type: "abandoned" }
  | { readonly type: "text_delta"; readonly text: string }
  /** Live, and not shown: the model thinks, or writes a tool's input. */
  | { readonly type: "unshown_delta"; readonly chars: number }
  | { readonly type: "assistant"; readonly id: string; readonly blocks: readonly Block[] }
  | { readonly type: "tool_results"; readonly results: readonly ToolResult[] }
  | {
      readonly type: "retry";
      readonly attempt: number;
      readonly of: number;
      readonly delayMs: number;
      readonly status: number | null;
    }
  | Result
  | { readonly type: "noise" };

export type Block =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "tool"; readonly id: string; readonly name: string; readonly input: unknown };

interface ToolResult {
  readonly id: string;
  readonly isError: boolean;
  readonly text: string;
  /** How much the command wrote, when `text` is only its beginning. */
  readonly bytes?: number;
}

export interface Result {
  readonly type: "result";
  /** True for API errors too, although their subtype says "success". */
  readonly isError: boolean;
  readonly text: string;
  readonly durationMs: number;
  /** Since the process started, and before that as far as its memory tells. */
  readonly costUsd: number | undefined;
  /** The model's HTTP status, when it was the model that failed; null: it was not reached. */
  readonly apiStatus: number | null | undefined;
  /** It ended itself at a limit that we gave it; `figure` is the limit, as it writes it. */
  readonly limit?: { readonly of: "model calls" | "cost"; readonly figure: string };
  /** The prompts that this answers; empty when it does not say. */
  readonly prompts: readonly string[];
}

const noise: Message = { type: "noise" };

/** The one door for what the agent says: nothing behind it is `unknown`, and nothing that it says can throw. */
export function readMessage(value: unknown): Message {
  const message = record(value);
  // What a sub-agent says is no part of the conversation.
  if (typeof message["parent_tool_use_id"] === "string") return noise;
  switch (message["type"]) {
    case "system":
      return readSystem(message);
    case "stream_event":
      if (message["abandoned_blocks"] !== undefined) return { type: "abandoned" };
      return readStream(record(message["event"]));
    case "assistant":
      // A message with `error` is the agent's own wording of an API error; the result tells it.
      return message["error"] === undefined ? readAssistant(record(message["message"])) : noise;
    case "user":
      return readUser(record(message["message"]), message["tool_use_result"]);
    case "result":
      return readResult(message);
    default:
      return noise;
  }
}

function readSystem(message: Fields): Message {
  switch (message["subtype"]) {
    case "init": {
      const agentSession = text(message["session_id"]);
      return agentSession === "" ? noise : { type: "init", agentSession };
    }
    case "api_retry":
      return {
        type: "retry",
        attempt: number(message["attempt"]) ?? 1,
        of: number(message["max_retries"]) ?? 1,
        delayMs: number(message["retry_delay_ms"]) ?? 0,
        status: number(message["error_status"]) ?? null,
      };
    default:
      return noise;
  }
}

function readStream(event: Fields): Message {
  switch (event["type"]) {
    case "message_start":
      return { type: "message_start" };
    case "content_block_start":
      return record(event["content_block"])["type"] === "text" ? { type: "text_start" } : noise;
    case "content_block_delta": {
      const delta = record(event["delta"]);
      if (delta["type"] === "text_delta") return { type: "text_delta", text: text(delta["text"]) };
      const unshown = text(delta["partial_json"]) || text(delta["thinking"]);
      return { type: "unshown_delta", chars: unshown.length };
    }
    default:
      return noise;
  }
}

function readAssistant(message: Fields): Message {
  const blocks = list(message["content"]).flatMap((content): Block[] => {
    const block = record(content);
    if (block["type"] === "text") return [{ type: "text", text: text(block["text"]) }];
    if (block["type"] !== "tool_use") return [];
    return [{ type: "tool", id: text(block["id"]), name: text(block["name"]), input: block["input"] ?? {} }];
  });
  return { type: "assistant", id: text(message["id"]), blocks };
}

function readUser(message: Fields, whole: unknown): Message {
  const blocks = list(message["content"])
    .map(record)
    .filter((block) => block["type"] === "tool_result");
  const results = blocks.map((block) => ({
    id: text(block["tool_use_id"]),
    isError: block["is_error"] === true,
    text: joined(block["content"]),
  }));
  const [only, ...others] = results;
  if (only === undefined) return noise;
  return { type: "tool_results", results: others.length === 0 ? [asWritten(only, record(whole))] : results };
}

/**
 * Of more than 30,000 characters the agent shows the model 2 KB; what stands beside the result is longer, and says how
 * much there was.
 */
function asWritten(result: ToolResult, { stdout, stderr, persistedOutputSize }: Fields): ToolResult {
  const bytes = number(persistedOutputSize);
  if (bytes === undefined) return result;
  const written = [stdout, stderr].map(text).filter((part) => part !== "");
  return { ...result, text: written.join("\n"), bytes };
}

function readResult(message: Fields): Result {
  const errors = list(message["errors"]).filter((error) => typeof error === "string");
  const prompts = list(message["user_message_uuids"]).filter((uuid) => typeof uuid === "string");
  const said = text(message["result"]) || errors.join("\n");
  const limit = limits.get(text(message["subtype"]));
  return {
    type: "result",
    isError: message["is_error"] === true || message["subtype"] !== "success",
    text: said,
    ...(limit !== undefined && { limit: { of: limit, figure: /\(([^()]*)\)$/.exec(said)?.[1] ?? "" } }),
    durationMs: number(message["duration_ms"]) ?? 0,
    costUsd: number(message["total_cost_usd"]),
    apiStatus:
      message["terminal_reason"] === "api_error" ? (number(message["api_error_status"]) ?? null) : undefined,
    prompts,
  };
}

const limits: ReadonlyMap<string, NonNullable<Result["limit"]>["of"]> = new Map([
  ["error_max_turns", "model calls"],
  ["error_max_budget_usd", "cost"],
]);

/** Text parts joined; of other parts (an image) only their kind is said. */
function joined(content: unknown): string {
  if (typeof content === "string") return content;
  return list(content)
    .map(record)
    .map((part) =>
      part["type"] === "text" ? text(part["text"]) : `[${text(part["type"]) || "something else"}]`,
    )
    .join("\n");
}

type Fields = Readonly<Record<string, unknown>>;
const record = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);
