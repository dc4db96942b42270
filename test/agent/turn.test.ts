import { afterAll, describe, expect, test } from "vitest";
import { randomUUID } from "node:crypto";
import { promptBytesMax } from "../../src/protocol/events.ts";
import type { Script } from "../../demo/model/script.ts";
import { bash, commands, openStage, say, type Played } from "./stage.ts";

const script: Script = (asked) => {
  if (asked.prompt === "two commands") return commands("echo one", "echo two >&2; exit 3")(asked);
  if (asked.prompt === "many blocks" && asked.step === 0)
    return {
      kind: "blocks",
      blocks: [
        { type: "text", text: "First." },
        bash("echo a"),
        { type: "text", text: "Second." },
        bash("echo b"),
      ],
    };
  if (asked.prompt === "ssh") return commands("ssh devvm uptime")(asked);
  if (asked.prompt === "long output") return commands("seq 1 20000")(asked);
  return say(`You said: ${asked.prompt.slice(0, 40)}`);
};

describe("a turn of the real agent", { timeout: 60_000 }, async () => {
  const stage = await openStage({ script });
  afterAll(() => stage.close());
  const kinds = ({ events }: Played) => events.map((event) => event.kind);
  const alone = { session: randomUUID() };

  test("answers with text, live and then stored, under the session's own id", async () => {
    const { end, events, news } = await stage.play("hello", alone);
    expect(end).toBe("done");
    expect(events).toEqual([
      { kind: "session", session_id: alone.session },
      { kind: "text", text: "You said: hello" },
      {
        kind: "result",
        is_error: false,
        result: "You said: hello",
        duration_ms: expect.any(Number),
        cost_usd: expect.any(Number),
      },
    ]);
    expect(news.map((one) => (one.name === "delta" ? one.text : "")).join("")).toBe("You said: hello");
  });

  test("runs in the process that is there already, and announces its session once", async () => {
    const { end, events } = await stage.play("again", alone);
    expect(end).toBe("done");
    expect(events.map((event) => event.kind)).toEqual(["text", "result"]);
    expect(stage.agent.processes()).toBe(1);
    expect(stage.bodies.at(-1)).toContain('"text":"hello"');
  });

  test("tells each tool call and its result, in order, with stdout, stderr and failure", async () => {
    const played = await stage.play("two commands");
    expect(kinds(played)).toEqual([
      "session",
      "tool",
      "tool_result",
      "tool",
      "tool_result",
      "text",
      "result",
    ]);
    const [, call, result, , failed] = played.events;
    expect(call).toMatchObject({ kind: "tool", name: "Bash", input: { command: "echo one" } });
    expect(result).toMatchObject({ kind: "tool_result", is_error: false, text: "one" });
    expect(call).toHaveProperty("tool_id", (result as { tool_id: string }).tool_id);
    expect(failed).toMatchObject({ is_error: true, text: expect.stringContaining("two") });
    expect(failed).toMatchObject({ text: expect.stringContaining("3") });
  });

  test("tells every block of a message of several, once, in order; a new text is a new live block", async () => {
    const played = await stage.play("many blocks");
    expect(played.events.filter((event) => event.kind === "tool" || event.kind === "text")).toMatchObject([
      { kind: "text", text: "First." },
      { kind: "tool", input: { command: "echo a" } },
      { kind: "text", text: "Second." },
      { kind: "tool", input: { command: "echo b" } },
      { kind: "text", text: expect.stringContaining("You said") },
    ]);
    expect(played.events.filter((event) => event.kind === "tool_result")).toHaveLength(2);
    const blocks = played.news.flatMap((one) => (one.name === "delta" ? [one.block] : []));
    expect(blocks).toEqual(blocks.toSorted((a, b) => a - b));
    expect(new Set(blocks).size).toBe(3);
  });

  test("finds the broker's ssh first in its PATH", async () => {
    const { events } = await stage.play("ssh");
    expect(events.find((event) => event.kind === "tool_result")).toMatchObject({
      text: "ssh got: devvm uptime",
    });
  });

  test("keeps more of a long output than the model is shown, and says how much there was", async () => {
    const { events } = await stage.play("long output");
    const result = events.find((event) => event.kind === "tool_result");
    expect(result?.text).toHaveLength(30_000);
    expect(result?.cut).toEqual({ bytes: 108_894, whole: null });
  });

  test.each([
    ["begins with a dash", "--version"],
    ["is a command of the agent's own", "/clear"],
    ["names a file", "@/etc/passwd"],
    ["is binary", "\u0000\u0001\uFFFD\u001b[31m\u202e\ud83d\ude00 \\u0000"],
    ["is as long as a prompt may be", "x".repeat(promptBytesMax)],
  ])("hands a prompt to the model as it is when it %s", async (_, prompt) => {
    const { end } = await stage.play(prompt);
    expect(end).toBe("done");
    expect(stage.asked.at(-1)?.prompt).toBe(prompt);
  });

  test("asks the model with our instructions, our tools, and nothing of the machine's settings", async () => {
    await stage.play("settings");
    const body = JSON.parse(stage.bodies.at(-1) ?? "") as { system: unknown; tools: { name: string }[] };
    expect(JSON.stringify(body.system)).toContain("You are a test.");
    const offered = body.tools.map((tool) => tool.name);
    expect(offered).toEqual(expect.arrayContaining(["Bash", "Read", "Grep", "Glob"]));
    expect(offered).not.toContain("WebFetch");
    expect(offered).not.toContain("Write");
  });
});
