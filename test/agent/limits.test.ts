import { describe, expect, onTestFinished, test } from "vitest";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { handClock } from "../doubles/hand-clock.ts";
import { bash, errors, say, stageWith, texts, type Played, type StageOptions } from "./stage.ts";

const results = ({ events }: Played) => events.filter((event) => event.kind === "result");

/** As many commands as the prompt's number says. */
const counted: StageOptions["script"] = ({ prompt, step }) =>
  step < Number(prompt) ? { kind: "blocks", blocks: [bash(`echo ${step}`)] } : say("Done.");

/** What the stand-in's usage costs by the agent's list prices: the same for each of its answers. */
const callUsd = 0.00024;

describe("time in a turn", { timeout: 60_000 }, () => {
  const oneCommand: StageOptions["script"] = ({ step }) =>
    step === 0 ? { kind: "blocks", blocks: [bash("true")] } : say("Waited.");

  test("is not counted while an approval waits for a person", async () => {
    const clock = handClock();
    const stage = await stageWith({ script: oneCommand, clock, waiting: () => true });
    const played = await stage.play("wait", { onEvent: () => clock.advance(3_600_000) });
    expect(played.end).toBe("done");
    expect(texts(played)).toEqual(["Waited."]);
  });

  test("counts as no silence while the broker works", async () => {
    const clock = handClock();
    const options = { silenceMs: 90_000, turnTimeoutMs: 3_600_000 };
    const stage = await stageWith({ script: oneCommand, clock, busy: () => true, ...options });
    const played = await stage.play("wait", { onEvent: () => clock.advance(600_000) });
    expect(played.end).toBe("done");
  });

  test.each([
    ["although it is busy talking", false],
    ["although the broker works: what hangs there does not hold the turn for ever", true],
  ])("beyond the wall ends it, %s; the message names the limit", async (_, busy) => {
    const clock = handClock();
    const stage = await stageWith({
      script: ({ step }) => ({ kind: "blocks", blocks: [bash(`echo ${step}`)] }),
      clock,
      busy: () => busy,
      silenceMs: 90_000,
      turnTimeoutMs: 120_000,
    });
    const played = await stage.play("for ever", { onEvent: () => clock.advance(20_000) });
    expect(played.end).toBe("failed");
    expect(errors(played)[0]).toContain(
      "The turn reached its limit of 120 s (BREAKGLASS_TURN_TIMEOUT_SECONDS)",
    );
    expect(stage.agent.processes()).toBe(0);
  });
});

describe("the number of model calls", { timeout: 60_000 }, () => {
  test("is limited for each turn anew, in the same process, and said in a sentence", async () => {
    const stage = await stageWith({ script: counted, modelCallsMax: 3 });
    const within = await stage.play("2");
    expect(within.end).toBe("done");
    const beyond = await stage.play("5");
    expect(beyond.end).toBe("failed");
    expect(errors(beyond)).toEqual([
      "The turn reached its limit of 3 model calls, so it was ended. The session and its log are whole. Say what it should go on with; it keeps its memory.",
    ]);
    expect(stage.model.requests()).toBe(6);
    expect((await stage.play("2")).end).toBe("done");
    expect(stage.agent.processes()).toBe(1);
  });
});

describe("the cost of a turn", { timeout: 60_000 }, () => {
  test("is told for each turn alone: in a warm process, in a fresh one, and after a restart", async () => {
    const stage = await stageWith({ script: counted });
    const session = randomUUID();
    const cost = (played: Played) => results(played)[0]?.cost_usd;
    expect(cost(await stage.play("2", { session }))).toBeCloseTo(3 * callUsd, 8);
    expect(cost(await stage.play("1", { session }))).toBeCloseTo(2 * callUsd, 8);
    await stage.agent.release(session);
    expect(cost(await stage.play("3", { session, resume: session }))).toBeCloseTo(4 * callUsd, 8);
    await stage.agent.close();
    const agent = stage.another();
    expect(cost(await stage.play("0", { session, resume: session, agent }))).toBeCloseTo(callUsd, 8);
  });

  test("is capped where it is configured, for each turn anew; the message names the option", async () => {
    const stage = await stageWith({ script: counted, turnCostUsdMax: 0.0006 });
    const session = randomUUID();
    expect((await stage.play("1", { session })).end).toBe("done");
    const beyond = await stage.play("9", { session, resume: session });
    expect(beyond.end).toBe("failed");
    expect(errors(beyond)).toEqual([
      "The turn reached its limit of cost, $0.0006 (BREAKGLASS_TURN_COST_MAX_USD), so it was ended. The session and its log are whole. Say what it should go on with; it keeps its memory.",
    ]);
    expect(results(beyond)[0]?.cost_usd).toBeCloseTo(3 * callUsd, 8);
    expect((await stage.play("1", { session, resume: session })).end).toBe("done");
    expect(stage.bodies.at(-1)).toContain('"text":"9"');
  });
});

describe("output of the model", { timeout: 60_000 }, () => {
  test.each(["text_delta", "thinking_delta", "input_json_delta"] as const)(
    "without end (%s) ends the turn, and nothing is left of it",
    async (type) => {
      const model = await endlessModel(type);
      onTestFinished(model.close);
      const stage = await stageWith({
        script: () => say("never"),
        endpoint: () => ({ env: { ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: "dummy" } }),
        outputCharsMax: 2_000_000,
      });
      const played = await stage.play("go");
      expect(played.end).toBe("failed");
      expect(errors(played)[0]).toMatch(
        /wrote more than 2000000 characters in one turn, the limit for output/,
      );
      expect(stage.agent.processes()).toBe(0);
      await model.left;
    },
  );
});

/** A model that begins a block and never ends it. `left` resolves when its reader has hung up. */
async function endlessModel(type: "text_delta" | "thinking_delta" | "input_json_delta") {
  const left = Promise.withResolvers<void>();
  const block = {
    text_delta: { type: "text", text: "" },
    thinking_delta: { type: "thinking", thinking: "", signature: "" },
    input_json_delta: { type: "tool_use", id: "toolu_endless", name: "Bash", input: {} },
  }[type];
  const field = { text_delta: "text", thinking_delta: "thinking", input_json_delta: "partial_json" }[type];
  const frame = (event: Readonly<Record<string, unknown>> & { readonly type: string }) =>
    `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
  const usage = { input_tokens: 10, output_tokens: 1 };
  const message = { id: "m", type: "message", role: "assistant", model: "m", content: [], usage };
  const server = createServer((request, response) => {
    request.resume();
    if (request.method !== "POST") return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(frame({ type: "message_start", message }));
    response.write(frame({ type: "content_block_start", index: 0, content_block: block }));
    const delta = frame({
      type: "content_block_delta",
      index: 0,
      delta: { type, [field]: "x".repeat(60_000) },
    });
    const pour = () => {
      while (!response.destroyed && response.write(delta));
    };
    response.on("drain", pour).on("close", () => left.resolve());
    pour();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, left: left.promise, close };
}
