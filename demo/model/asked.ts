import type { Asked } from "./script.ts";

export interface Reduced {
  readonly asked: Asked;
  readonly stream: boolean;
  readonly body: unknown;
}

/** A Messages API request, reduced to what a script decides by; undefined when it is none. */
export function reduceRequest(text: string): Reduced | undefined {
  const body = parse(text);
  if (!isRecord(body) || !Array.isArray(body["messages"])) return undefined;
  const items = body["messages"].flatMap(said);
  const promptAt = items.findLastIndex((item) => item.kind === "prompt");
  const since = items.slice(promptAt + 1).filter((item) => item.kind === "result");
  const newest = items.at(-1);
  return {
    asked: {
      prompt: items[promptAt]?.text ?? "",
      step: since.length,
      toolResult: newest?.kind === "result" ? { text: newest.text, isError: newest.isError } : null,
      toolResults: since.map((item) => item.text),
      model: typeof body["model"] === "string" ? body["model"] : "",
    },
    stream: body["stream"] === true,
    body,
  };
}

type Item =
  | { readonly kind: "prompt"; readonly text: string }
  | { readonly kind: "result"; readonly text: string; readonly isError: boolean };

/** What a user message says. After an interrupt the next prompt stands in the same message as the tool's result. */
function said(message: unknown): Item[] {
  if (!isRecord(message) || message["role"] !== "user") return [];
  return blocksOf(message["content"]).flatMap((block): Item[] => {
    if (block["type"] === "tool_result") {
      const text = blocksOf(block["content"]).map(textOf).join("\n");
      return [{ kind: "result", text, isError: block["is_error"] === true }];
    }
    const text = withoutReminders(textOf(block));
    return text === "" ? [] : [{ kind: "prompt", text }];
  });
}

/** The agent puts notes of its own between the person's words. */
function withoutReminders(text: string): string {
  return text.includes("<system-reminder>")
    ? text.replaceAll(/<system-reminder>[\s\S]*?<\/system-reminder>/g, "").trim()
    : text;
}

function blocksOf(content: unknown): Record<string, unknown>[] {
  if (typeof content === "string") return [{ type: "text", text: content }];
  return Array.isArray(content) ? content.filter(isRecord) : [];
}

const textOf = (block: Record<string, unknown>) => (typeof block["text"] === "string" ? block["text"] : "");

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
