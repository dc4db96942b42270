import { describe, expect, onTestFinished, test } from "vitest";
import { reduceRequest } from "../../demo/model/asked.ts";
import { startModel } from "../../demo/model/server.ts";
import type { Script } from "../../demo/model/script.ts";

const user = (...content: unknown[]) => ({ role: "user", content });
const text = (words: string) => ({ type: "text", text: words });
const toolResult = (words: string, isError = false) => ({
  type: "tool_result",
  tool_use_id: "t",
  content: words,
  is_error: isError,
});
const asked = (...messages: unknown[]) =>
  reduceRequest(JSON.stringify({ model: "m", stream: true, messages }))?.asked;

describe("what the stand-in is asked", () => {
  test("is the newest prompt; the agent's own notes are none", () => {
    const note = text("<system-reminder>\nBe good.\n</system-reminder>\n");
    expect(asked(user(note, text("hello")), { role: "system", content: "x" }, user(note))).toMatchObject({
      prompt: "hello",
      step: 0,
      toolResult: null,
    });
    expect(asked({ role: "user", content: "plain" })?.prompt).toBe("plain");
  });

  test("counts the tool results since that prompt", () => {
    const messages = [
      user(text("one")),
      user(toolResult("old")),
      user(text("two")),
      user(toolResult("a"), toolResult("b", true)),
    ];
    expect(asked(...messages)).toMatchObject({
      prompt: "two",
      step: 2,
      toolResult: { text: "b", isError: true },
      toolResults: ["a", "b"],
    });
  });

  test("after an interrupt the prompt stands in the message of the result", () => {
    expect(
      asked(
        user(text("one")),
        user(toolResult("stopped", true), text("[Request interrupted by user]"), text("two")),
      ),
    ).toMatchObject({
      prompt: "two",
      step: 0,
      toolResult: null,
    });
  });

  test("a body that is no request is answered with 400", async () => {
    expect(reduceRequest("{")).toBeUndefined();
    expect(reduceRequest("[]")).toBeUndefined();
  });
});

describe("what the stand-in answers", () => {
  const stand = async (script: Script) => {
    const model = await startModel({ script });
    onTestFinished(() => model.close());
    const post = (stream: boolean) =>
      fetch(`${model.url}/v1/messages?beta=true`, {
        method: "POST",
        body: JSON.stringify({ model: "m", stream, messages: [user(text("hi"))] }),
      });
    return { model, post };
  };

  test("is one message when no stream is asked for", async () => {
    const { post, model } = await stand(() => ({
      kind: "blocks",
      blocks: [text("a") as { type: "text"; text: string }],
    }));
    expect(await (await post(false)).json()).toMatchObject({
      type: "message",
      content: [{ type: "text", text: "a" }],
      stop_reason: "end_turn",
    });
    expect(model.requests()).toBe(1);
  });

  test("is a stream of several deltas otherwise", async () => {
    const { post } = await stand(() => ({
      kind: "blocks",
      blocks: [{ type: "text", text: "x".repeat(100) }],
    }));
    const body = await (await post(true)).text();
    expect(body.match(/text_delta/g)?.length).toBeGreaterThan(3);
    expect(body).toMatch(/event: message_stop\n/);
  });

  test("is the status that the script says, and a torn stream where it says so", async () => {
    const { post } = await stand(() => ({
      kind: "status",
      status: 529,
      type: "overloaded_error",
      message: "Full.",
    }));
    const refused = await post(true);
    expect(refused.status).toBe(529);
    expect(await refused.json()).toEqual({
      type: "error",
      error: { type: "overloaded_error", message: "Full." },
    });
    const torn = await stand(() => ({ kind: "drop", blocks: [{ type: "text", text: "half" }] }));
    await expect(torn.post(true).then((response) => response.text())).rejects.toThrow();
  });

  test("knows no other route, and closes although somebody waits", async () => {
    const { model, post } = await stand(() => ({ kind: "hang" }));
    expect((await fetch(model.url, { method: "HEAD" })).status).toBe(404);
    expect((await fetch(`${model.url}/v1/models`)).status).toBe(404);
    const waiting = post(true).then(
      () => "answered",
      () => "cut off",
    );
    while (model.requests() === 0) await new Promise((resolve) => setImmediate(resolve));
    await model.close();
    expect(await waiting).toBe("cut off");
  });
});
