import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { SessionId } from "../../src/protocol/ids.ts";
import type { TargetStatus } from "../../src/protocol/targets.ts";
import { systemClock } from "../../src/server/clock.ts";
import { startOf, Streams, type AttachRequest } from "../../src/server/http/stream.ts";
import type { Session } from "../../src/server/sessions/session.ts";
import type { Store } from "../../src/server/store/store.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { openSessions, scratchFolder, scratchStore } from "../doubles/sessions.ts";
import { EventStream } from "./event-stream.ts";

const quiet = scriptedAgent(async () => "done");
const turn = "22222222-2222-4222-8222-222222222222";
const up = [{ name: "devvm", state: "up" }] as unknown as readonly TargetStatus[];

/** The real streams over a real store behind a bare server: what an attached client meets, without the doors. */
async function rig(
  options: { readonly keepaliveMs?: number; readonly directory?: string; readonly id?: SessionId } = {},
) {
  const directory = options.directory ?? scratchFolder();
  const store = await scratchStore(directory);
  const sessions = await openSessions(store, quiet, { report: () => {} });
  const session = await sessions.get(options.id ?? (await sessions.create("ana")));
  if (session === undefined) throw new Error("no session");
  const problems: unknown[] = [];
  const streams = new Streams({
    store,
    clock: systemClock,
    keepaliveMs: options.keepaliveMs ?? 60_000,
    targets: () => up,
    console: () => ({ frozen: null, model: { state: "unknown", since: "", detail: "" }, approvals: [] }),
    report: (error) => void problems.push(error),
  });
  const responses: ServerResponse[] = [];
  const server = createServer((incoming, response) => {
    responses.push(response);
    const url = new URL(incoming.url ?? "/", "http://localhost");
    const asked: AttachRequest = {
      lastEventId: incoming.headers["last-event-id"]?.toString(),
      tail: url.searchParams.has("tail") ? Number(url.searchParams.get("tail")) : undefined,
      watch: url.searchParams.get("watch") === "1",
      scope: "operate",
    };
    void streams.attach(session, asked, incoming, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    streams.close();
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return { store, session, streams, url, responses, problems, directory };
}

async function append(store: Store, session: Session, count: number, text = "x"): Promise<void> {
  const bodies = Array.from({ length: count }, (_, at) => ({
    kind: "text",
    text: `${text}${at}`,
    at: "2026-01-01T00:00:00.000Z",
  }));
  await store.append(`session/${session.id}`, bodies);
}

const caughtUp = (stream: EventStream) => stream.named("caught-up").length > 0;
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

test("attach replays the whole log, says that it is over, and goes on live without a gap", async () => {
  const { store, session, url } = await rig();
  await append(store, session, 1_000);
  const stream = await EventStream.open(url);
  await stream.until(caughtUp);
  expect(stream.ids).toEqual(range(0, 1_000));
  await Promise.all([append(store, session, 5), append(store, session, 5)]);
  await stream.until(({ ids }) => ids.length === 1_010);
  expect(stream.ids).toEqual(range(0, 1_010));
  expect(stream.frames[0]).toEqual({ retry: 1_000 });
  expect(stream.frames.at(-1)).toMatchObject({ id: 1_009, data: { kind: "text", id: 1_009, text: "x4" } });
});

test("events that arrive during the replay are neither lost nor doubled", async () => {
  const { store, session, url } = await rig();
  await append(store, session, 20_000, "a longer text so that the replay takes many slices ".repeat(4));
  const stream = await EventStream.open(url);
  for (let round = 0; round < 20; round++) await append(store, session, 10);
  await stream.until((each) => caughtUp(each) && each.ids.length === 20_200);
  expect(stream.ids).toEqual(range(0, 20_200));
});

test.each([
  ["nothing", {}, 10, -1, false],
  ["an id", { lastEventId: "3" }, 10, 3, false],
  ["an id and a tail: the id wins", { lastEventId: "3", tail: 2 }, 10, 3, false],
  ["the head", { lastEventId: "10" }, 10, 10, false],
  ["an id beyond the head", { lastEventId: "11", tail: 2 }, 10, -1, true],
  ["a negative id", { lastEventId: "-1" }, 10, -1, false],
  ["no number", { lastEventId: "abc" }, 10, -1, false],
  ["an empty id", { lastEventId: "" }, 10, -1, false],
  ["sixteen digits", { lastEventId: "1000000000000000" }, 10, -1, false],
  ["a tail", { tail: 2 }, 10, 8, false],
  ["a tail longer than the log", { tail: 50 }, 10, -1, false],
  ["a tail of nothing", { tail: 0 }, 10, 10, false],
] as const)("a replay asked for with %s begins where it should", (_, asked, head, after, isReset) => {
  const start = startOf({ lastEventId: undefined, tail: undefined, ...asked }, head);
  expect({ after: start.after, isReset: start.preamble.includes("event: reset") }).toEqual({
    after,
    isReset,
  });
});

test("a client that does not read costs one slice, and gets everything once it reads", async () => {
  const { store, session, url, responses } = await rig();
  const incoming = await new Promise<import("node:http").IncomingMessage>((resolve) => {
    request(url, { agent: false }, resolve).end();
  });
  incoming.pause();
  for (let round = 0; round < 40; round++) await append(store, session, 1_000, "y".repeat(250));
  const held = responses[0]?.writableLength ?? Number.NaN;
  expect(held).toBeLessThan(512 * 1024);
  let text = "";
  incoming.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  incoming.resume();
  await new Promise<void>((resolve) => {
    incoming.on("data", () => text.slice(-400).includes(`"id":39999,`) && resolve());
  });
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
  expect(ids).toEqual(range(0, 40_000));
  incoming.destroy();
});

test("live text comes as deltas, whole for whoever attaches in the middle, and never after its end", async () => {
  const { session, url } = await rig();
  const first = await EventStream.open(url);
  await first.until(caughtUp);
  session.live.show(turn, { name: "delta", block: 0, text: "The disk " });
  await first.until((stream) => stream.named("delta").length > 0);
  session.live.show(turn, { name: "delta", block: 0, text: "is full." });
  const second = await EventStream.open(url);
  const shown = (stream: EventStream) =>
    stream.named("delta").reduce((text, { data }) => {
      const delta = data as { from: number; text: string };
      expect(delta.from).toBe(text.length);
      return text + delta.text;
    }, "");
  await Promise.all(
    [first, second].map((stream) => stream.until((each) => shown(each) === "The disk is full.")),
  );
  session.live.clear();
  const third = await EventStream.open(url);
  await third.until(caughtUp);
  expect(third.named("delta")).toEqual([]);
});

test("what the turn waits for is told", async () => {
  const { session, url } = await rig();
  const stream = await EventStream.open(url);
  await stream.until(caughtUp);
  session.live.show(turn, { name: "activity", text: "The model answered 529; retry 1 of 2." });
  await stream.until((each) => each.named("activity").length === 1);
  expect(stream.named("activity")[0]?.data).toEqual({ turn, text: "The model answered 529; retry 1 of 2." });
});

test("only a watching client is told of targets, first a snapshot and then changes", async () => {
  const { url, streams } = await rig();
  const watching = await EventStream.open(`${url}?watch=1`);
  const plain = await EventStream.open(url);
  await Promise.all([watching.until(caughtUp), plain.until(caughtUp)]);
  streams.targetsChanged([{ ...up[0]!, state: "stopped" }]);
  await watching.until((stream) => stream.named("targets").length === 2);
  expect(watching.named("targets").map(({ data }) => (data as TargetStatus[])[0]?.state)).toEqual([
    "up",
    "stopped",
  ]);
  expect(plain.named("targets")).toEqual([]);
});

test("a silent stream is kept alive by a comment, and by a beat that a page can see", async () => {
  const { url } = await rig({ keepaliveMs: 20 });
  const stream = await EventStream.open(url);
  await stream.until((each) => each.named("beat").length > 1);
  expect(stream.frames.filter(({ comment }) => comment === "keepalive").length).toBeGreaterThan(1);
});

test("the end of the server ends every stream with a time to come back", async () => {
  const { url, streams } = await rig();
  const stream = await EventStream.open(url);
  await stream.until(caughtUp);
  streams.close();
  await stream.until(({ ended }) => ended);
  expect(stream.frames.at(-1)).toEqual({ retry: 1_000 });
});

test("what is damaged is told once and left out, and behind it the log goes on", async () => {
  const { store, session, directory } = await rig();
  await append(store, session, 50);
  await store.close();
  const file = join(directory, "streams", "session", `${session.id}.sse`);
  const bytes = readFileSync(file);
  bytes[bytes.indexOf('"x20"')] = 0x27;
  writeFileSync(file, bytes);
  const damaged = await rig({ directory, id: session.id });
  const stream = await EventStream.open(damaged.url);
  await stream.until(caughtUp);
  expect(stream.named("damage")).toHaveLength(1);
  expect(stream.ids.at(0)).toBe(0);
  expect(stream.ids.at(-1)).toBe(49);
  expect(stream.ids).not.toContain(20);
});

test("a client that has left leaves nothing behind", async () => {
  const { url, streams, store, session, problems } = await rig();
  const stream = await EventStream.open(`${url}?watch=1`);
  await stream.until(caughtUp);
  expect(streams.count).toBe(1);
  stream.close();
  await expect.poll(() => streams.count, { timeout: 30_000 }).toBe(0);
  await append(store, session, 10);
  streams.targetsChanged(up);
  expect(problems).toEqual([]);
});

test("the head says what proxies must know", async () => {
  const { url } = await rig();
  const { response } = await EventStream.open(url);
  expect(response.headers).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
  });
  expect(response.headers["content-encoding"]).toBeUndefined();
});
