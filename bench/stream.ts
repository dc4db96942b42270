import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Clients } from "./clients.ts";
import { median, percentile, pinSelf, startPinned, talkTo } from "./pinned.ts";
import { print } from "./print.ts";

const long = "00000000-0000-4000-8000-000000000001";
const middle = "00000000-0000-4000-8000-000000000002";
const fresh = (at: number) => `00000000-0000-4000-8000-1000000000${String(at).padStart(2, "0")}`;

interface Cost {
  /** Since the server's start. */
  readonly cpuMs: number;
  readonly rss: number;
}

/** What section "stream" of the figures asks for, server on core 0, clients on core 1. */
export async function benchStream(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "bg-bench-"));
  pinSelf(1);
  const child = startPinned(0, ["--expose-gc", "bench/stream-server.ts", directory]);
  const talk = talkTo(child);
  try {
    const { port } = (await talk(undefined)) as { port: number };
    const ask = async (what: string, stream: string, count: number) =>
      (await talk({ do: what, stream, count })) as Cost;
    await ask("seed", long, 100_000);
    await ask("seed", middle, 10_000);
    const fileBytes = (id: string) => statSync(join(directory, "streams", "session", `${id}.sse`)).size;

    await replay(port, long, fileBytes(long), join(directory, "streams", "session", `${long}.sse`));
    await manyReplays(port, middle, fileBytes(middle));
    await burst(port, ask);
    await steady(port, ask, directory);
    await neverReading(port, ask, long);
  } finally {
    child.stdin?.end();
    child.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function replay(port: number, stream: string, bytes: number, file: string): Promise<void> {
  const ours: number[] = [];
  const raw: number[] = [];
  for (let round = 0; round < 9; round++) {
    ours.push(await timed(() => receive(port, `/${stream}`, bytes)));
    raw.push(await timed(() => rawLoopback(file)));
  }
  print("replay of 100,000 events (26 MB)", {
    ms: median(ours),
    baseline: "read and send over raw loopback",
    baselineMs: median(raw),
    limitMs: 60,
  });
}

async function manyReplays(port: number, stream: string, bytes: number): Promise<void> {
  const ours: number[] = [];
  const one: number[] = [];
  for (let round = 0; round < 5; round++) {
    one.push(await timed(() => receive(port, `/${stream}`, bytes)));
    ours.push(
      await timed(async () => {
        const clients = await Clients.open(port, `/${stream}`, 50);
        await clients.received(50 * bytes);
        clients.close();
      }),
    );
  }
  print("50 clients replaying 10,000 events at once", {
    ms: median(ours),
    baseline: "one client alone, times 50",
    baselineMs: 50 * median(one),
    limitMs: 200,
  });
}

async function burst(
  port: number,
  ask: (what: string, stream: string, count: number) => Promise<Cost>,
): Promise<void> {
  const clientCount = 1_000;
  const events = 4_000;
  const rates: number[] = [];
  const cpus: number[] = [];
  const bareCpus: number[] = [];
  for (let round = 0; round < 5; round++) {
    const stream = fresh(round);
    await ask("seed", stream, 1);
    const clients = await Clients.open(port, `/${stream}?tail=0`, clientCount);
    await clients.received(clientCount * 200);
    await quiet(clients);
    clients.reset();
    const frame = 270;
    const { cpuMs: before } = await ask("nothing", stream, 0);
    const begun = performance.now();
    const appended = ask("burst", stream, events);
    // All but a part of a frame each: the ids grow longer in the course of it.
    await clients.received(clientCount * events * (frame - 20));
    const ms = performance.now() - begun;
    await appended;
    await quiet(clients);
    const { cpuMs: after } = await ask("nothing", stream, 0);
    rates.push((clientCount * events) / (ms / 1000));
    cpus.push(((after - before) * 1000) / (clientCount * events));
    clients.close();

    const bare = await Clients.open(port, "/bare", clientCount);
    await bare.received(clientCount * 50);
    await quiet(bare);
    bare.reset();
    const bytes = events * frame;
    const { cpuMs: bareBefore } = await ask("nothing", stream, 0);
    await ask("bare", stream, bytes);
    await bare.received(clientCount * bytes);
    const { cpuMs: bareAfter } = await ask("nothing", stream, 0);
    bareCpus.push(((bareAfter - bareBefore) * 1000) / (clientCount * events));
    bare.close();
  }
  print("1,000 attached clients, burst", {
    cpuUsPerDelivery: median(cpus),
    baseline: "one write of the same bytes to each socket, us of CPU a delivery",
    baselineUs: median(bareCpus),
    deliveriesPerSecond: Math.round(median(rates)),
    limit: "at least 1,500,000/s, at most 0.5 us",
  });
}

async function steady(
  port: number,
  ask: (what: string, stream: string, count: number) => Promise<Cost>,
  directory: string,
): Promise<void> {
  const stream = fresh(90);
  await ask("seed", stream, 1);
  const clients = await Clients.open(port, `/${stream}?tail=0`, 1_000);
  await clients.received(1_000 * 200);
  await quiet(clients);
  const latencies: number[] = [];
  const flushes: number[] = [];
  const fd = openSync(join(directory, "flush"), "w");
  for (let event = 0; event < 200; event++) {
    const tick = performance.now() + 50;
    clients.reset();
    const begun = performance.now();
    const acting = ask("one", stream, 1);
    await clients.received(1_000 * 250);
    latencies.push(performance.now() - begun);
    await acting;
    flushes.push(flush(fd));
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, tick - performance.now())));
  }
  closeSync(fd);
  clients.close();
  print("1,000 clients at 20 events/s, all served", {
    p99Ms: percentile(latencies, 0.99),
    baseline: "write and fdatasync, p99 of the same run",
    baselineMs: percentile(flushes, 0.99),
    beyondMs: percentile(latencies, 0.99) - percentile(flushes, 0.99),
    limitBeyondMs: 25,
  });
}

async function neverReading(
  port: number,
  ask: (what: string, stream: string, count: number) => Promise<Cost>,
  stream: string,
): Promise<void> {
  // The appends themselves cost memory: first once without anybody attached.
  await ask("burst", stream, 20_000);
  const before = await ask("nothing", stream, 0);
  const sockets = await Promise.all(
    Array.from({ length: 20 }, () => {
      return new Promise<import("node:net").Socket>((resolve) => {
        const socket = connect({ host: "127.0.0.1", port }, () => {
          socket.pause();
          socket.write(`GET /${stream} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
          resolve(socket);
        });
      });
    }),
  );
  await ask("burst", stream, 20_000);
  const after = await ask("nothing", stream, 0);
  for (const socket of sockets) socket.destroy();
  print("20 clients that never read", {
    grownMB: (after.rss - before.rss) / 1024 / 1024,
    baseline: "what they were sent in all, MB",
    baselineMB: (20 * 32_400_000) / 1024 / 1024,
    limitMB: 10,
  });
}

async function receive(port: number, path: string, bytes: number): Promise<void> {
  const clients = await Clients.open(port, path, 1);
  await clients.received(bytes);
  clients.close();
}

/** What the machine can do: the same bytes, read from the same file, through a bare socket pair. */
async function rawLoopback(file: string): Promise<void> {
  const { createServer } = await import("node:net");
  const { createReadStream } = await import("node:fs");
  const server = createServer((socket) => createReadStream(file, { highWaterMark: 256 * 1024 }).pipe(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await receive(port, "/", readFileSync(file).length);
  server.close();
}

function flush(fd: number): number {
  const begun = performance.now();
  writeSync(fd, "x".repeat(270));
  fdatasyncSync(fd);
  return performance.now() - begun;
}

const quietMs = 100;

/** Resolves when nothing has come for a while: the replay before the measurement is over. */
async function quiet(clients: Clients): Promise<void> {
  for (let seen = -1; seen !== clients.bytes;) {
    seen = clients.bytes;
    await new Promise((resolve) => setTimeout(resolve, quietMs));
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
