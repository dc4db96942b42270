import { connect } from "node:net";
import { expect, test } from "vitest";
import { outcomeOf, type HostReport } from "../../src/protocol/outcome.ts";
import type { Hypervisor } from "../../src/server/power/hypervisor.ts";
import { scriptedAgent, stopped } from "../doubles/agent.ts";
import { startApp } from "../doubles/app.ts";
import { EventStream } from "./event-stream.ts";

const echo = scriptedAgent(async ({ prompt, report }) => {
  await report({ kind: "text", text: prompt });
  return "done";
});
const waiting = scriptedAgent(async (request) => {
  await stopped(request);
  return "cancelled";
});
const hypervisor = (answer: HostReport, sent: string[] = []): Hypervisor => ({
  run: async (verb) => {
    sent.push(verb);
    return answer;
  },
  attach: async () => answer,
});
const on: HostReport = {
  exit_code: 0,
  stdout: 'status: running\nBG1 {"result":"done","state_after":"running","changed":true}\n',
  stderr: "",
};
const unknownId = "00000000-0000-4000-8000-000000000000";
const ended = (stream: EventStream) =>
  stream.frames.some(({ data }) => (data as { kind?: string })?.kind === "turn_end");

type App = Awaited<ReturnType<typeof startApp>>;

async function newSession({ ask }: App): Promise<string> {
  const { body } = await ask("POST", "/api/session");
  return String(body["session_id"]);
}

const attach = ({ url, authorization }: App, id: string, query = "", headers = {}) =>
  EventStream.open(`${url}/api/session/${id}/stream${query}`, { ...authorization, ...headers });

test("health needs nobody's name", async () => {
  const { url } = await startApp({ agent: echo });
  const response = await fetch(`${url}/health`);
  expect([response.status, await response.json()]).toEqual([
    200,
    { status: "ok", service: "claude-breakglass" },
  ]);
});

test("health is told to HEAD and with a query as well, and what is no HTTP gets a sentence", async () => {
  const { url } = await startApp({ agent: echo });
  expect((await fetch(`${url}/health`, { method: "HEAD" })).status).toBe(200);
  expect((await fetch(`${url}/health?probe=1`)).status).toBe(200);
  const { port } = new URL(url);
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connect(Number(port), "127.0.0.1", () => socket.write("nonsense\r\n\r\n"));
    socket.on("data", (chunk) => (text += chunk.toString())).on("close", () => resolve(text));
  });
  expect(JSON.parse(answer.split("\r\n\r\n")[1] ?? "")).toEqual({ detail: expect.any(String) });
});

test("HEAD on a stream is answered, and holds no place", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  const answer = await fetch(`${app.url}/api/session/${id}/stream`, {
    method: "HEAD",
    headers: app.authorization,
  });
  expect([answer.status, app.streams.count]).toEqual([200, 0]);
});

test.each([
  ["POST", "/api/session"],
  ["GET", `/api/session/${unknownId}/stream`],
  ["POST", `/api/session/${unknownId}/prompt`],
  ["POST", `/api/session/${unknownId}/cancel`],
  ["GET", "/api/pve/verbs"],
  ["POST", "/api/pve/cycle"],
  ["GET", "/api/console"],
  ["GET", "/api/nothing/here"],
])("%s %s without credentials is 401, says how to get in, and does nothing", async (method, path) => {
  const sent: string[] = [];
  const { url } = await startApp({ agent: echo, hypervisor: hypervisor(on, sent) });
  const response = await fetch(url + path, { method });
  const { detail } = (await response.json()) as { detail: string };
  expect([response.status, sent]).toEqual([401, []]);
  expect(detail).toContain("npm run link");
});

test("a prompt is answered at once, and the turn is seen by whoever attaches, before or after", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  const early = await attach(app, id);
  const { status, body } = await app.ask("POST", `/api/session/${id}/prompt`, { prompt: "hello" });
  expect([status, body]).toEqual([200, { status: "started" }]);
  await early.until(ended);
  const late = await attach(app, id);
  await late.until(ended);
  const seen = (stream: EventStream) =>
    stream.frames.filter((frame) => frame.id !== undefined).map(({ data }) => data);
  expect(seen(late)).toEqual(seen(early));
  expect(seen(late)).toMatchObject([
    { kind: "user", id: 0, text: "hello", by: "ana" },
    { kind: "text", id: 1, text: "hello" },
    { kind: "turn_end", id: 2, reason: "done" },
  ]);
});

test.each([
  ["an empty prompt", { prompt: "" }],
  ["a blank prompt", { prompt: " \n\t" }],
  ["no prompt", {}],
  ["a prompt of another type", { prompt: 7 }],
  ["a prompt over 512 KiB", { prompt: "é".repeat(256 * 1024 + 1) }],
  ["a huge prompt", { prompt: "x".repeat(1024 * 1024) }],
  ["a body beyond all bounds", { prompt: "x".repeat(8 * 1024 * 1024) }],
  ["a key that is no UUID", { prompt: "hello", key: "again" }],
  ["a model that is no name", { prompt: "hello", model: "; rm -rf /" }],
  ["malformed JSON", '{"prompt":'],
  ["no object", "[]"],
  ["bytes that are no text", new Uint8Array([0x22, 0xff, 0xfe, 0x22])],
])("%s is 422 with a sentence, and nothing is recorded", async (_, body) => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  const answer = await app.ask("POST", `/api/session/${id}/prompt`, body);
  expect(answer.status).toBe(422);
  expect(answer.body["detail"]).toMatch(/\.$/);
  expect(await app.store.head(`session/${id}`)).toBe(-1);
});

test.each([
  ["begins with a dash", "--help"],
  ["is binary", `\u0000\u0001\u001b[31m${String.fromCharCode(0xd800)}🧯`],
  ["is as long as it may be", "x".repeat(512 * 1024)],
  ["has what looks like a frame", "\n\nid: 7\ndata: {}\n\n"],
])("a prompt that %s is kept as it came", async (_, prompt) => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  expect((await app.ask("POST", `/api/session/${id}/prompt`, { prompt, unknown_field: 1 })).status).toBe(200);
  const stream = await attach(app, id);
  await stream.until(ended);
  expect(stream.frames.find(({ id: at }) => at === 0)?.data).toMatchObject({ text: prompt.toWellFormed() });
});

test.each([unknownId, "..", "%2e%2e%2f%2e%2e", "a/b", "%00", unknownId.toUpperCase(), "x".repeat(500)])(
  "a session by the id %j is not found, on any route",
  async (id) => {
    const { ask } = await startApp({ agent: echo });
    for (const [method, path] of [
      ["GET", "/stream"],
      ["POST", "/prompt"],
      ["POST", "/cancel"],
      ["GET", "/events"],
      ["GET", ""],
    ] as const) {
      const { status, body } = await ask(
        method,
        `/api/session/${id}${path}`,
        method === "POST" ? { prompt: "x" } : undefined,
      );
      expect([path, status]).toEqual([path, 404]);
      expect(body["detail"]).toEqual(expect.any(String));
    }
  },
);

test("one turn at a time is 409, one too many over all is 429, and stop says whether there was one", async () => {
  const app = await startApp({ agent: waiting, limits: { turnsAtOnceMax: 1 } });
  const [one, two] = [await newSession(app), await newSession(app)];
  const prompt = (id: string) => app.ask("POST", `/api/session/${id}/prompt`, { prompt: "wait" });
  expect((await prompt(one)).status).toBe(200);
  expect((await prompt(one)).status).toBe(409);
  expect((await prompt(two)).status).toBe(429);
  expect((await app.ask("POST", `/api/session/${one}/cancel`)).body).toEqual({ cancelled: true });
  expect((await app.ask("POST", `/api/session/${one}/cancel`)).body).toEqual({ cancelled: false });
});

test("a nearly full disk refuses turns with 507 and leaves verbs alone", async () => {
  const app = await startApp({
    agent: echo,
    hypervisor: hypervisor(on),
    limits: { reserveBytes: Number.MAX_SAFE_INTEGER },
  });
  const id = await newSession(app);
  const { status, body } = await app.ask("POST", `/api/session/${id}/prompt`, { prompt: "hello" });
  expect([status, body["detail"]]).toEqual([507, expect.stringContaining("Verbs still work")]);
  expect((await app.ask("POST", "/api/pve/cycle")).status).toBe(200);
});

test("the verbs are told, sorted", async () => {
  const { ask } = await startApp({ agent: echo });
  expect((await ask("GET", "/api/pve/verbs")).body).toEqual({
    verbs: ["cycle", "forensics", "reset", "start", "status", "stop"],
    mutating: ["cycle", "reset", "start", "stop"],
  });
});

test.each([
  ["done", on, 200, 0, false],
  ["failed", { exit_code: 6, stdout: "", stderr: "start failed\n" }, 502, 6, false],
  ["refused", { exit_code: 3, stdout: "", stderr: "VM is locked (backup)\n" }, 502, 3, true],
  ["unknown", { exit_code: null, stdout: "", stderr: "the line was lost\n" }, 502, null, false],
] as const)("a verb that is %s is told by its exit code", async (_, answer, status, exit_code, rejected) => {
  const { ask } = await startApp({ agent: echo, hypervisor: hypervisor(answer) });
  const reply = await ask("POST", "/api/pve/cycle");
  expect(reply.status).toBe(status);
  expect(reply.body).toMatchObject({
    verb: "cycle",
    exit_code,
    rejected,
    stdout: expect.any(String),
    stderr: expect.any(String),
  });
});

test.each(["reboot", "Cycle", "cycle ", "status;id", "constructor", "%0acycle"])(
  "the unknown verb %j is 400, and nothing is sent",
  async (verb) => {
    const sent: string[] = [];
    const { ask } = await startApp({ agent: echo, hypervisor: hypervisor(on, sent) });
    expect((await ask("POST", `/api/pve/${encodeURIComponent(verb)}`)).status).toBe(400);
    expect(sent).toEqual([]);
  },
);

test("without a hypervisor a verb is 502, rejected, and says what to set", async () => {
  const { ask } = await startApp({ agent: echo, hypervisor: null });
  const { status, body } = await ask("POST", "/api/pve/cycle");
  expect([status, body["exit_code"], body["rejected"]]).toEqual([502, null, true]);
  expect(body["stderr"]).toContain("BREAKGLASS_PVE_HOST");
});

test("an operation is accepted once by its key, and its end is read by its id", async () => {
  const sent: string[] = [];
  const app = await startApp({ agent: echo, hypervisor: hypervisor(on, sent) });
  const key = crypto.randomUUID();
  const post = (verb: string) => app.ask("POST", "/api/targets/devvm/operations", { verb, key });
  expect((await post("cycle")).status).toBe(202);
  expect((await post("cycle")).status).toBe(202);
  expect((await post("stop")).status).toBe(422);
  await expect
    .poll(async () => (await app.ask("GET", `/api/operations/${key}`)).body["outcome"], { timeout: 30_000 })
    .toEqual(outcomeOf("cycle", on));
  expect(sent).toEqual(["cycle"]);
});

test("a second mutating operation is 409 with the holder, and one that saw an older state is 409 as well", async () => {
  let finish = () => {};
  const run = () => new Promise<HostReport>((resolve) => (finish = () => resolve(on)));
  const slow: Hypervisor = { run, attach: run };
  const app = await startApp({ agent: echo, hypervisor: slow });
  const post = (verb: string, after?: string | null) =>
    app.ask("POST", "/api/targets/devvm/operations", {
      verb,
      key: crypto.randomUUID(),
      ...(after !== undefined && { after }),
    });
  const first = await post("cycle");
  expect((await post("stop")).body["detail"]).toContain("cycle by ana is under way");
  finish();
  await expect
    .poll(
      async () => (await app.ask("GET", `/api/operations/${String(first.body["id"])}`)).body["settled_at"],
      {
        timeout: 30_000,
      },
    )
    .toBeTruthy();
  const stale = await post("stop", null);
  expect([stale.status, stale.body["detail"]]).toEqual([409, expect.stringContaining("Since you looked")]);
  expect((await post("stop", String(first.body["id"]))).status).toBe(202);
  finish();
});

test("an unknown field, verb or target of an operation is told", async () => {
  const { ask } = await startApp({ agent: echo, hypervisor: hypervisor(on) });
  const key = crypto.randomUUID();
  const post = (target: string, body: unknown) => ask("POST", `/api/targets/${target}/operations`, body);
  expect((await post("devvm", { verb: "cycle", key, force: true })).body["detail"]).toBe(
    "Unknown field: force.",
  );
  expect((await post("devvm", { verb: "reboot", key })).status).toBe(422);
  expect((await post("nowhere", { verb: "cycle", key })).status).toBe(404);
});

test("older events come in pages, oldest first", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  await app.store.append(
    `session/${id}`,
    Array.from({ length: 25 }, (_, at) => ({ kind: "text", text: String(at), at: "" })),
  );
  const page = async (query: string) => {
    const { body } = await app.ask("GET", `/api/session/${id}/events?${query}`);
    return { ids: (body["events"] as { id: number }[]).map((event) => event.id), more: body["more"] };
  };
  expect(await page("before=5&limit=3")).toEqual({ ids: [2, 3, 4], more: true });
  expect(await page("before=2")).toEqual({ ids: [0, 1], more: false });
  expect(await page("before=0")).toEqual({ ids: [], more: false });
  expect((await page("limit=2")).ids).toEqual([23, 24]);
  expect((await app.ask("GET", `/api/session/${id}/events?limit=0`)).status).toBe(422);
});

test("attach takes the header before the query, and a tail from whoever has no id", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  await app.store.append(
    `session/${id}`,
    Array.from({ length: 10 }, () => ({ kind: "text", text: "", at: "" })),
  );
  const ids = async (query: string, headers = {}) => {
    const stream = await attach(app, id, query, headers);
    await stream.until((each) => each.named("caught-up").length > 0);
    stream.close();
    return stream.ids;
  };
  expect(await ids("?last_event_id=7", { "last-event-id": "8" })).toEqual([9]);
  expect(await ids("?last_event_id=7&tail=1")).toEqual([8, 9]);
  expect(await ids("?tail=2")).toEqual([8, 9]);
  expect(await ids("?tail=many")).toHaveLength(10);
  const beyond = await attach(app, id, "?last_event_id=99");
  await beyond.until((each) => each.named("caught-up").length > 0);
  expect([beyond.named("reset").length, beyond.ids.length]).toEqual([1, 10]);
});

test("a session is listed with its name, renamed, archived, and its first prompt names it", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  await app.ask("POST", `/api/session/${id}/prompt`, { prompt: "what is wrong?\nsecond line" });
  await expect
    .poll(async () => (await app.ask("GET", `/api/session/${id}`)).body["name"], { timeout: 30_000 })
    .toBe("what is wrong?");
  const change = await app.ask("PATCH", `/api/session/${id}`, { name: "the disk", archived: true });
  expect(change.body).toMatchObject({ name: "the disk", archived: true });
  expect((await app.ask("PATCH", `/api/session/${id}`, { colour: "red" })).status).toBe(422);
});

test("every answer carries the headers that keep the page to itself, streams and errors too", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  const stream = await attach(app, id);
  const answers = [
    await fetch(`${app.url}/health`),
    await fetch(`${app.url}/api/session`, { method: "POST" }),
    await fetch(`${app.url}/nothing`),
    await fetch(`${app.url}/`),
  ];
  for (const headers of [
    ...answers.map((answer) => Object.fromEntries(answer.headers)),
    stream.response.headers,
  ]) {
    expect(headers["content-security-policy"]).toContain("default-src 'none'");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(headers["referrer-policy"]).toBe("no-referrer");
  }
  expect(stream.response.headers["cache-control"]).toBe("no-cache");
});

test("a link is traded once for a cookie that reads, and that changes things only from our own page", async () => {
  const sent: string[] = [];
  const app = await startApp({ agent: echo, hypervisor: hypervisor(on, sent) });
  const link = app.auth.mintLink("ana");
  const login = () => fetch(`${app.url}/api/login`, { method: "POST", body: JSON.stringify({ link }) });
  const first = await login();
  expect([first.status, (await login()).status]).toEqual([204, 401]);
  const setCookie = first.headers.get("set-cookie") ?? "";
  expect(setCookie).toMatch(/HttpOnly/);
  expect(setCookie).toMatch(/SameSite=Strict/);
  const cookie = setCookie.split(";")[0]!;
  const cycle = (headers: Record<string, string>) =>
    fetch(`${app.url}/api/pve/cycle`, { method: "POST", headers: { cookie, ...headers } });
  expect((await fetch(`${app.url}/api/sessions`, { headers: { cookie } })).status).toBe(200);
  expect((await cycle({ "sec-fetch-site": "cross-site" })).status).toBe(403);
  expect((await cycle({ origin: "https://evil.example" })).status).toBe(403);
  expect((await cycle({})).status).toBe(403);
  expect(sent).toEqual([]);
  expect((await cycle({ origin: app.url })).status).toBe(200);
  expect((await cycle({ "sec-fetch-site": "same-origin" })).status).toBe(200);
});

test("what changed something is in the audit log with its actor", async () => {
  const app = await startApp({ agent: echo, hypervisor: hypervisor(on) });
  await app.ask("POST", "/api/pve/cycle");
  await expect.poll(() => app.store.head("audit"), { timeout: 30_000 }).toBe(0);
  expect(await app.store.read("audit", -1, 1)).toMatchObject([
    { actor: "ana", action: "POST /api/pve/cycle", outcome: "200" },
  ]);
});

test("answers are compressed for whoever takes it, the stream never", async () => {
  const app = await startApp({ agent: echo });
  const id = await newSession(app);
  await app.store.append(
    `session/${id}`,
    Array.from({ length: 100 }, () => ({ kind: "text", text: "again and again", at: "" })),
  );
  const page = await app.ask("GET", `/api/session/${id}/events`, undefined, { "accept-encoding": "gzip" });
  expect(page.headers.get("content-encoding")).toBe("gzip");
  const stream = await attach(app, id, "", { "accept-encoding": "gzip" });
  expect(stream.response.headers["content-encoding"]).toBeUndefined();
});
