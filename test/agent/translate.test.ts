import { describe, expect, test } from "vitest";
import type { AgentEvent, AgentNews } from "../../src/server/agent/agent.ts";
import { bounded, boundedInput, textBytesMax } from "../../src/server/agent/claude/bounds.ts";
import { readMessage } from "../../src/server/agent/claude/messages.ts";
import { translate, unread } from "../../src/server/agent/claude/translate.ts";

function tell(raw: readonly unknown[], costUsd: number | null = 0) {
  let reading = unread(costUsd);
  const events: AgentEvent[] = [];
  const news: AgentNews[] = [];
  let end: string | undefined;
  for (const one of raw) {
    const [next, said] = translate(reading, readMessage(one));
    reading = next;
    events.push(...said.events);
    news.push(...said.news);
    end = said.end ?? end;
  }
  return { events, news, end, reading };
}

const stream = (event: unknown) => ({ type: "stream_event", event });
const assistant = (id: string, ...content: unknown[]) => ({ type: "assistant", message: { id, content } });
const text = (words: string) => ({ type: "text", text: words });
const delta = (words: string) =>
  stream({ type: "content_block_delta", delta: { type: "text_delta", text: words } });
const begin = stream({ type: "message_start", message: { id: "m" } });
const block = stream({ type: "content_block_start", content_block: { type: "text", text: "" } });
const result = (fields: object) => ({
  type: "result",
  subtype: "success",
  is_error: false,
  result: "",
  duration_ms: 5,
  ...fields,
});

describe("what the agent says, in our words", () => {
  test("a block that comes twice under the same message is told once; the same words in another message are told again", () => {
    const call = { type: "tool_use", id: "t1", name: "Bash", input: { command: "id" } };
    const { events } = tell([
      assistant("a", text("x")),
      assistant("a", text("x"), call),
      assistant("a", call),
      assistant("b", text("x")),
    ]);
    expect(events).toEqual([
      { kind: "text", text: "x" },
      { kind: "tool", name: "Bash", input: { command: "id" }, tool_id: "t1" },
      { kind: "text", text: "x" },
    ]);
  });

  test("thinking is not told", () => {
    expect(tell([assistant("a", { type: "thinking", thinking: "hm" })]).events).toEqual([]);
  });

  test("deltas of a new message begin a new block, and what was streamed of a broken one is dropped", () => {
    const { news, reading } = tell([begin, block, delta("half"), begin, block, delta("wh"), delta("ole")]);
    expect(news).toEqual([
      { name: "delta", block: 0, text: "half" },
      { name: "delta", block: 1, text: "wh" },
      { name: "delta", block: 1, text: "ole" },
    ]);
    expect(reading.open).toBe("whole");
  });

  test("a sub-agent's words are no part of the conversation", () => {
    expect(tell([{ ...assistant("a", text("x")), parent_tool_use_id: "t" }]).events).toEqual([]);
  });

  test("content blocks of a tool's result are joined, and what is no text is named", () => {
    const content = [text("a"), { type: "image", source: {} }, text("b")];
    const raw = {
      type: "user",
      message: { content: [{ type: "tool_result", tool_use_id: "t", is_error: true, content }] },
    };
    expect(tell([raw]).events).toEqual([
      { kind: "tool_result", tool_id: "t", is_error: true, text: "a\n[image]\nb" },
    ]);
  });

  test("an error that calls itself a success is an error and a failed turn", () => {
    const { events, end } = tell([
      result({ is_error: true, terminal_reason: "api_error", api_error_status: 401, result: "Invalid key" }),
    ]);
    expect(end).toBe("failed");
    expect(events).toMatchObject([
      { kind: "result", is_error: true },
      { kind: "error", error: expect.stringContaining("(401)") },
    ]);
  });

  test("the cost is the turn's own, and is not told when what came before is not known", () => {
    const twice = [result({ total_cost_usd: 0.5 }), result({ total_cost_usd: 0.75 })];
    expect(tell(twice).events).toMatchObject([{ cost_usd: 0.5 }, { cost_usd: 0.25 }]);
    const [first, second] = tell(twice, null).events;
    expect(first).not.toHaveProperty("cost_usd");
    expect(second).toHaveProperty("cost_usd", 0.25);
  });

  test.each([
    null,
    7,
    "x",
    [],
    {},
    { type: "assistant" },
    { type: "user", message: { content: [null] } },
    { type: "stream_event" },
    { type: "system", subtype: "init" },
  ])("%j is passed over", (raw) => expect(tell([raw]).events).toEqual([]));
});

describe("bounds", () => {
  test("a text within them is untouched", () => {
    expect(bounded("é\u0000")).toEqual({ text: "é\u0000" });
  });

  test.each(["x", "é", "\u0000", "😀", '"'])(
    "a longer one of %j is cut to an event's size, without half a character",
    (unit) => {
      const long = unit.repeat(textBytesMax);
      const { text: kept, cut } = bounded(long);
      expect(cut).toEqual({ bytes: Buffer.byteLength(long), whole: null });
      expect(Buffer.byteLength(JSON.stringify(kept))).toBeLessThan(textBytesMax + 200);
      expect(kept.isWellFormed()).toBe(true);
    },
  );

  test("an input that is too large is kept as its beginning", () => {
    expect(boundedInput({ command: "id" })).toEqual({ command: "id" });
    expect(boundedInput({ command: "x".repeat(textBytesMax) })).toMatchObject({
      cut: expect.stringMatching(/^\{"command":"xxx/),
    });
  });
});
