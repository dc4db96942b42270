import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import type { ConsoleFacts } from "../../src/protocol/api.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { EventStream } from "../http/event-stream.ts";
import { signIn, startServer } from "./server.ts";

const kind = (stream: EventStream) =>
  stream.frames.map(({ data }) => (data as { kind?: string } | undefined)?.kind);
const presetPrompt = (facts: ConsoleFacts, name: string) =>
  facts.presets.find((preset) => preset.name === name)?.prompt ?? "";
const token = "a-token-that-is-long-enough-to-pass";
const bearer = { authorization: `Bearer ${token}` };

async function beginTurn(server: Awaited<ReturnType<typeof startServer>>, preset: string) {
  const { ask, headers } = await signIn(server);
  const facts = (await ask("GET", "/api/console")).body as unknown as ConsoleFacts;
  const id = String((await ask("POST", "/api/session")).body["session_id"]);
  const stream = await EventStream.open(`${server.origin}/api/session/${id}/stream`, headers);
  expect(
    (await ask("POST", `/api/session/${id}/prompt`, { prompt: presetPrompt(facts, preset) })).status,
  ).toBe(200);
  return { ask, headers, id, stream };
}

test(
  "SIGTERM in mid-turn: streams end with a time to come back, the turn is interrupted, exit 0",
  { timeout: 120_000 },
  async () => {
    const HOME = scratchFolder();
    const server = await startServer({ env: { HOME } });
    const { stream, id } = await beginTurn(server, "Triage");
    await stream.until((each) => kind(each).includes("tool"));
    expect(await server.end("SIGTERM")).toBe(0);
    await stream.until(({ ended }) => ended);
    expect(stream.frames.at(-1)).toEqual({ retry: 1_000 });
    const log = readFileSync(join(HOME, ".local/state/breakglass/demo/streams/session", `${id}.sse`), "utf8");
    expect(log).toContain('"kind":"turn_end"');
    expect(log.trimEnd().split("\n").at(-1)).toContain('"reason":"interrupted"');
  },
);

test(
  "kill -9 in mid-turn: what a client saw is there again, once, and the turn is interrupted",
  { timeout: 180_000 },
  async () => {
    const HOME = scratchFolder();
    for (const last of ["user", "tool", "exec", "tool_result"]) {
      const server = await startServer({ env: { HOME } });
      const { stream, id } = await beginTurn(server, "Triage");
      await stream.until((each) => kind(each).includes(last));
      await server.end("SIGKILL");
      await stream.until(({ ended }) => ended);
      const seen = stream.frames.filter((frame) => frame.id !== undefined);

      const again = await startServer({ env: { HOME } });
      const { headers } = await signIn(again);
      const replay = await EventStream.open(`${again.origin}/api/session/${id}/stream`, headers);
      await replay.until((each) => kind(each).includes("turn_end"));
      const numbered = replay.frames.filter((frame) => frame.id !== undefined);
      expect(numbered.slice(0, seen.length)).toEqual(seen);
      expect(replay.ids).toEqual(replay.ids.map((_, at) => at));
      expect(numbered.at(-1)?.data).toMatchObject({ kind: "turn_end", reason: "interrupted" });
      expect(await again.end("SIGTERM")).toBe(0);
    }
  },
);

test(
  "a credential in the environment is not used by the demo until somebody says so",
  { timeout: 120_000 },
  async () => {
    const server = await startServer({
      env: { ANTHROPIC_API_KEY: "dummy-key-that-opens-nothing", ANTHROPIC_BASE_URL: "http://127.0.0.1:9" },
    });
    const { stream, ask } = await beginTurn(server, "Triage");
    await stream.until((each) => kind(each).includes("turn_end"));
    // The stand-in has answered: the address in the environment answers nobody.
    expect(JSON.stringify(stream.frames)).toContain("**Now:**");
    const model = async () => {
      const facts = (await ask("GET", "/api/console")).body as unknown as ConsoleFacts;
      return facts.notices.find(({ id }) => id === "demo-model");
    };
    expect(await model()).toMatchObject({ action: { path: "/api/demo/use-model" } });
    expect((await ask("POST", "/api/demo/use-model")).status).toBe(204);
    expect((await model())?.text).toContain("Your model credential is in use");
  },
);

test("a cookie and the list of sessions outlive a restart", { timeout: 120_000 }, async () => {
  const HOME = scratchFolder();
  const server = await startServer({ env: { HOME } });
  const { ask, headers } = await signIn(server);
  const { body } = await ask("POST", "/api/session");
  await server.end("SIGKILL");
  const again = await startServer({ env: { HOME } });
  const answer = await fetch(`${again.origin}/api/sessions`, { headers: { cookie: headers.cookie } });
  expect([answer.status, await answer.json()]).toMatchObject([200, [{ session_id: body["session_id"] }]]);
});

test("a data directory that cannot be used is said, and verbs still work", { timeout: 120_000 }, async () => {
  const HOME = scratchFolder();
  const dataDir = join(HOME, ".local/state/breakglass/demo");
  mkdirSync(dirname(dataDir), { recursive: true });
  writeFileSync(dataDir, "a file where a folder should be");
  const server = await startServer({ env: { HOME } });
  const { ask } = await signIn(server);
  const facts = (await ask("GET", "/api/console")).body as unknown as ConsoleFacts;
  expect(facts.notices.find(({ id }) => id === "store")?.text).toContain("Nothing is recorded");
  const cycle = await ask("POST", "/api/pve/cycle");
  expect([cycle.status, cycle.body["exit_code"]]).toEqual([200, 0]);
  expect((await ask("POST", "/api/session")).status).toBe(507);
});

test(
  "a second server on the same data directory does not start, and says why",
  { timeout: 120_000 },
  async () => {
    const HOME = scratchFolder();
    await startServer({ env: { HOME } });
    await expect(startServer({ env: { HOME } })).rejects.toThrow(/The server did not start\..*another/is);
  },
);

test("a port that is taken is said, and nothing is left running", { timeout: 120_000 }, async () => {
  const server = await startServer();
  const listen = { BREAKGLASS_LISTEN: new URL(server.origin).host };
  await expect(startServer({ env: listen })).rejects.toThrow(/did not start.*(in use|EADDRINUSE)/is);
});

test.each([
  ["a listen address that is none", { BREAKGLASS_LISTEN: "8080" }, "BREAKGLASS_LISTEN"],
  ["the whole network without a credential", { BREAKGLASS_LISTEN: "0.0.0.0:0" }, "BREAKGLASS_LISTEN"],
  ["a target that is no address", { BREAKGLASS_DEVVM_HOST: "not an address" }, "BREAKGLASS_DEVVM_HOST"],
])("%s stops the start, and names the option and the mend", async (_, env, option) => {
  await expect(startServer({ env, demo: false })).rejects.toThrow(
    new RegExp(`did not start.*${option}`, "s"),
  );
});

test(
  "a missing key, hypervisor and agent disable their own part, each with its mend",
  { timeout: 120_000 },
  async () => {
    const server = await startServer({
      demo: false,
      env: {
        API_BEARER_TOKEN: token,
        BREAKGLASS_DEVVM_HOST: "127.0.0.1:1",
        BREAKGLASS_PVE_HOST: "127.0.0.1:1",
        BREAKGLASS_KEY_PATH: "/nonexistent/key",
        BREAKGLASS_CLAUDE: "/nonexistent/claude",
      },
    });
    const ask = async (method: string, path: string, body?: unknown) => {
      const answer = await fetch(server.origin + path, {
        method,
        headers: bearer,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    };
    const facts = (await ask("GET", "/api/console")).body as unknown as ConsoleFacts;
    expect(facts.notices.map(({ text }) => text).join()).toContain("/nonexistent/key");
    expect(facts.agent_problem).toContain("/nonexistent/claude");
    const cycle = await ask("POST", "/api/pve/cycle");
    expect([cycle.status, cycle.body["exit_code"]]).toEqual([502, null]);
    expect(cycle.body["stderr"]).toContain("/nonexistent/key");
    const id = String((await ask("POST", "/api/session")).body["session_id"]);
    expect((await ask("POST", `/api/session/${id}/prompt`, { prompt: "hello" })).status).toBe(200);
    const stream = await EventStream.open(`${server.origin}/api/session/${id}/stream`, bearer);
    await stream.until((each) => kind(each).includes("turn_end"));
    expect(kind(stream).filter(Boolean)).toEqual(["user", "error", "turn_end"]);
  },
);

test("breakglass link prints a link that opens the running server", { timeout: 120_000 }, async () => {
  const HOME = scratchFolder();
  const server = await startServer({ env: { HOME } });
  const env = { PATH: process.env["PATH"], HOME };
  const { stdout } = spawnSync(process.execPath, ["src/cli/main.mjs", "link"], { encoding: "utf8", env });
  const link = /\S+#k=\S+/.exec(stdout)?.[0] ?? "";
  expect(new URL(link).origin).toBe(server.origin);
  const { ask } = await signIn({ ...server, link });
  expect((await ask("GET", "/api/sessions")).status).toBe(200);
  const nobody = spawnSync(process.execPath, ["src/cli/main.mjs", "link"], {
    encoding: "utf8",
    env: { ...env, HOME: scratchFolder() },
  });
  expect([nobody.status, nobody.stderr]).toEqual([1, expect.stringContaining("No server answers")]);
});
