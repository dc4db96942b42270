import { describe, expect, test } from "vitest";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ModelSign } from "../../src/server/agent/model.ts";
import type { Answer, Script } from "../../demo/model/script.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { bash, errors, openStage, say, stageWith, texts, type Played } from "./stage.ts";

/** The model answers with this first, then as if nothing had been. */
function once(answer: Answer): Script {
  let answered = false;
  return () => {
    if (answered) return say("All is well again.");
    answered = true;
    return answer;
  };
}

function hearing() {
  const signs: ModelSign[] = [];
  return { signs, onModel: (sign: ModelSign) => void signs.push(sign) };
}

const status = (code: number, type: string): Answer => ({
  kind: "status",
  status: code,
  type,
  message: "No.",
});
const activities = ({ news }: Played) => news.flatMap((one) => (one.name === "activity" ? [one.text] : []));

describe("a model that fails", { timeout: 60_000 }, () => {
  test.concurrent.for([
    [401, "authentication_error", "refused the credential (401)", "ANTHROPIC_API_KEY", "refused"],
    [403, "permission_error", "refused the credential (403)", "ANTHROPIC_API_KEY", "refused"],
    [429, "rate_limit_error", "limit is reached (429)", "Wait a minute", "strained"],
    [529, "overloaded_error", "overloaded (529)", "Wait a minute", "strained"],
    [500, "api_error", "failed on its side (500)", "Wait a minute", "strained"],
  ] as const)(
    "with %i ends the turn with what happened, what holds and the mend, and is told of as such",
    async ([code, type, what, mend, kind], { expect, onTestFinished }) => {
      const { signs, onModel } = hearing();
      const stage = await openStage({ script: () => status(code, type), onModel });
      onTestFinished(() => stage.close());
      const played = await stage.play("hello");
      expect(played.end).toBe("failed");
      expect(errors(played)).toHaveLength(1);
      expect(errors(played)[0]).toContain(what);
      expect(errors(played)[0]).toContain(mend);
      expect(errors(played)[0]).toContain("The session and its log are whole.");
      expect(played.events.find((event) => event.kind === "result")).toMatchObject({ is_error: true });
      expect(texts(played)).toEqual([]);
      expect(signs).toEqual([{ kind, says: expect.stringContaining(what) }]);
    },
  );

  test("shows each retry while it waits, and goes on when the model does", async () => {
    const stage = await stageWith({ script: once(status(529, "overloaded_error")) });
    const played = await stage.play("hello");
    expect(played.end).toBe("done");
    expect(texts(played)).toEqual(["All is well again."]);
    expect(activities(played)).toEqual([expect.stringMatching(/\(529\)\. Trying again in .* \(1 of 2\)/)]);
  });

  test("fails only its turn: the next one runs in the same process", async () => {
    const stage = await stageWith({
      script: (asked) => (asked.prompt === "first" ? status(400, "invalid_request_error") : say("Yes.")),
    });
    expect((await stage.play("first")).end).toBe("failed");
    const next = await stage.play("second");
    expect(next.end).toBe("done");
    expect(next.events.map((event) => event.kind)).toEqual(["text", "result"]);
  });

  test("by refusing connections is called unreachable", async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, "127.0.0.1", resolve));
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const { signs, onModel } = hearing();
    const stage = await stageWith({
      script: () => say("never"),
      onModel,
      endpoint: () => ({
        env: { ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}`, ANTHROPIC_API_KEY: "dummy" },
      }),
    });
    const played = await stage.play("hello");
    expect(played.end).toBe("failed");
    expect(errors(played)[0]).toContain("The model cannot be reached.");
    expect(activities(played)).toHaveLength(2);
    expect(signs).toEqual([{ kind: "unreached", says: expect.stringContaining("cannot be reached") }]);
  });

  test("by never answering is given up after the time for a request", async () => {
    const stage = await stageWith({ script: () => ({ kind: "hang" }), apiTimeoutMs: 300 });
    const played = await stage.play("hello");
    expect(played.end).toBe("failed");
    expect(errors(played)[0]).toContain("The model cannot be reached.");
  });

  test("by falling silent in mid-stream is ended by the watchdog; what was seen stays, and the next turn knows of it", async () => {
    const clock = handClock();
    const { signs, onModel } = hearing();
    const stage = await stageWith({
      script: ({ prompt }) =>
        prompt === "first" ? { kind: "hang", blocks: [{ type: "text", text: "Half a wo" }] } : say("Yes."),
      clock,
      silenceMs: 90_000,
      onModel,
    });
    const played = await stage.play("first", {
      onNews: (one) => one.name === "delta" && setImmediate(() => clock.advance(90_500)),
    });
    expect(played.end).toBe("failed");
    expect(texts(played)).toEqual(["Half a wo"]);
    expect(errors(played)[0]).toMatch(
      /Nothing came from the agent for 90 s, the limit for silence.*look before you repeat/,
    );
    expect(signs).toEqual([
      { kind: "answered" },
      { kind: "strained", says: expect.stringContaining("fell silent in the middle of an answer") },
    ]);
    expect(stage.agent.processes()).toBe(0);
    const session = played.events.find((event) => event.kind === "session")?.session_id;
    const next = await stage.play("second", { ...(session && { resume: session }) });
    expect(next.end).toBe("done");
    expect(stage.bodies.at(-1)).toContain('"text":"first"');
  });

  test("by dropping every stream ends the turn with a sentence, and nothing of it is told twice", async () => {
    const { signs, onModel } = hearing();
    const stage = await stageWith({
      script: () => ({ kind: "drop", blocks: [{ type: "text", text: "All is we" }] }),
      onModel,
    });
    const played = await stage.play("hello");
    expect(played.end).toBe("failed");
    expect(errors(played)).toHaveLength(1);
    expect(errors(played)[0]).toContain("The session and its log are whole.");
    expect(signs.at(-1)?.kind).toBe("unreached");
    expect(texts(played).length).toBeLessThan(2);
  });

  test("by dropping the stream is asked again, and nothing is told twice", async () => {
    const stage = await stageWith({
      script: once({ kind: "drop", blocks: [{ type: "text", text: "All is we" }] }),
    });
    const played = await stage.play("hello");
    expect(played.end).toBe("done");
    expect(texts(played)).toEqual(["All is well again."]);
    const blocks = new Map<number, string>();
    for (const one of played.news)
      if (one.name === "delta") blocks.set(one.block, (blocks.get(one.block) ?? "") + one.text);
    expect([...blocks.values()].at(-1)).toBe("All is well again.");
  });
});

test("a block that was whole before the stream broke is told once, although the model says it again", async () => {
  let requests = 0;
  const first = { type: "text", text: "I look." } as const;
  const stage = await stageWith({
    script: ({ step }) => {
      if (step > 0) return say("Seen.");
      return requests++ === 0
        ? { kind: "drop", blocks: [first, { type: "text", text: "And then I" }] }
        : { kind: "blocks", blocks: [first, bash("echo once")] };
    },
  });
  const played = await stage.play("hello");
  expect(played.end).toBe("done");
  expect(texts(played)).toEqual(["I look.", "Seen."]);
  expect(played.events.filter((event) => event.kind === "tool_result")).toMatchObject([{ text: "once" }]);
});
