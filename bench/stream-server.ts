import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import type { SessionId } from "../src/protocol/ids.ts";
import { systemClock } from "../src/server/clock.ts";
import { Streams } from "../src/server/http/stream.ts";
import { Live } from "../src/server/sessions/live.ts";
import { SessionMode } from "../src/server/sessions/mode.ts";
import { openFiles } from "../src/server/store/files/files.ts";

/**
 * The real store and the real streams behind a bare server, and beside them the baselines that a machine allows: the same
 * bytes written to the same sockets by a loop. Driven by lines of JSON, answered by lines of JSON.
 */
const [directory = ""] = process.argv.slice(2);
const store = await openFiles({ directory });
const live = new Live();
const mode = new SessionMode({ clock: systemClock, configured: () => "supervised" }, null);
const streams = new Streams({
  store,
  clock: systemClock,
  keepaliveMs: 600_000,
  targets: () => [],
  console: () => ({ frozen: null, model: { state: "unknown", since: "", detail: "" }, approvals: [] }),
  report: fail,
});
const bare = new Set<import("node:http").ServerResponse>();

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://localhost");
  const id = url.pathname.slice(1);
  if (id === "bare") {
    response.useChunkedEncodingByDefault = false;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.flushHeaders();
    bare.add(response);
    response.on("close", () => bare.delete(response));
    return;
  }
  const tail = url.searchParams.get("tail");
  const asked = {
    lastEventId: undefined,
    tail: tail === null ? undefined : Number(tail),
    watch: false,
    scope: "operate",
  } as const;
  void streams.attach({ id: id as SessionId, live, mode }, asked, request, response);
}).listen(0, "127.0.0.1", () => answer({ port: (server.address() as AddressInfo).port }));

const body = (at: string) => ({
  kind: "text",
  text: "x".repeat(150),
  at,
  turn: "22222222-2222-4222-8222-222222222222",
});

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as Message;
  await act(message);
  const { user, system } = process.cpuUsage();
  answer({ cpuMs: (user + system) / 1000, rss: process.memoryUsage.rss() });
}
process.exit();

interface Message {
  readonly do: "seed" | "burst" | "one" | "bare" | "nothing";
  readonly stream: string;
  readonly count: number;
}

async function act({ do: what, stream, count }: Message): Promise<void> {
  const name = `session/${stream}`;
  const now = () => new Date().toISOString();
  switch (what) {
    case "seed":
      for (let done = 0; done < count; done += 1_000) {
        await store.append(
          name,
          Array.from({ length: Math.min(1_000, count - done) }, () => body(now())),
        );
      }
      return;
    case "burst": {
      // As many small appends as the writers make them, not one large one: batching is the store's business.
      const appends = [];
      for (let done = 0; done < count; done++) appends.push(store.append(name, [body(now())]));
      await Promise.all(appends);
      return;
    }
    case "one":
      await store.append(name, [body(now())]);
      return;
    case "bare": {
      const buffer = Buffer.from("x".repeat(count));
      for (const response of bare) response.write(buffer);
      return;
    }
    case "nothing":
      // What is garbage by now is no cost of whoever is attached.
      globalThis.gc?.();
      return;
  }
}

function answer(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function fail(error: unknown): never {
  throw error;
}
