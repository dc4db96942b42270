import { describe, expect, onTestFinished, test } from "vitest";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { textBytesMax } from "../../src/server/agent/claude/bounds.ts";
import { openStage, say } from "./stage.ts";

/** An agent of a few lines, for what the real one cannot be made to do. `body` runs for each prompt. */
async function stageWithFake(body: string) {
  const folder = mkdtempSync(join(tmpdir(), "bg-fake-"));
  const claudePath = join(folder, "claude");
  writeFileSync(
    claudePath,
    `#!/usr/bin/env node
const say = (message) => new Promise((done) => process.stdout.write(JSON.stringify({ session_id: "fake", ...message }) + "\\n", done));
const text = (text) => say({ type: "assistant", message: { id: "m", content: [{ type: "text", text }] }, parent_tool_use_id: null });
const end = () => say({ type: "result", subtype: "success", is_error: false, result: "", duration_ms: 1, total_cost_usd: 0 });
require("readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  const message = JSON.parse(line);
  if (message.type === "control_request")
    return say({ type: "control_response", response: { subtype: "success", request_id: message.request_id, response: {} } });
  if (message.type === "user") { ${body} }
}).on("close", () => process.exit(0));
`,
    { mode: 0o755 },
  );
  const stage = await openStage({ script: () => say("never"), claudePath });
  onTestFinished(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  return stage;
}

describe("an agent that does what the real one should not", { timeout: 60_000 }, () => {
  test("a line of 5 MB arrives whole", async () => {
    const stage = await stageWithFake(`await text("é".repeat(2_500_000)); await end();`);
    const { end, events } = await stage.play("hello");
    expect(end).toBe("done");
    expect(events[0]?.kind === "text" && events[0].text === "é".repeat(2_500_000)).toBe(true);
  });

  test("what is larger than an event may be is cut, and says how large it was", async () => {
    const stage = await stageWithFake(
      `await say({ type: "user", message: { content: [{ type: "tool_result", tool_use_id: "t", content: "\\u0001".repeat(9_000_000) }] } }); await end();`,
    );
    const { events } = await stage.play("hello");
    const [result] = events;
    expect(result).toMatchObject({ kind: "tool_result", cut: { bytes: 9_000_000, whole: null } });
    expect(JSON.stringify(result).length).toBeLessThan(8 * 1024 * 1024);
    expect(JSON.stringify(result).length).toBeGreaterThan(textBytesMax * 0.9);
  });

  test("a megabyte on stderr neither hangs it nor is kept whole", async () => {
    const stage = await stageWithFake(
      `process.stderr.write("noise ".repeat(200_000), async () => { await text("Loud."); process.stderr.write("last words", () => process.exit(3)); });`,
    );
    const { end, events } = await stage.play("hello");
    expect(end).toBe("failed");
    expect(events[0]).toEqual({ kind: "text", text: "Loud." });
    const error = events.at(-1);
    expect(error).toMatchObject({ kind: "error", error: expect.stringMatching(/exit code 3.*last words$/) });
    expect(JSON.stringify(error).length).toBeLessThan(10_000);
  });

  test("lines that are no message, and messages of no known kind, are passed over", async () => {
    const stage = await stageWithFake(
      `await say({ type: "of tomorrow", message: 7 }); await say({ type: "assistant", message: null }); await say({ type: "user" });
       await say({ type: "system", subtype: "init", session_id: 5 }); await text("Still here."); await end();`,
    );
    const { end, events } = await stage.play("hello");
    expect(end).toBe("done");
    expect(events).toContainEqual({ kind: "text", text: "Still here." });
  });

  test("one that does not answer Stop is killed all the same", async () => {
    const stage = await stageWithFake(`process.on("SIGTERM", () => {}); await text("Deaf."); for (;;);`);
    const stop = new AbortController();
    const { end } = await stage.play("hello", { signal: stop.signal, onEvent: () => stop.abort() });
    expect(end).toBe("cancelled");
    expect(stage.agent.processes()).toBe(0);
  });
});
