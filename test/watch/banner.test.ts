import { createServer, type Socket } from "node:net";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { readBanner } from "../../src/server/watch/banner.ts";

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
    onConnection(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

test("an SSH banner is a sign of life, lines before it included", async () => {
  const port = await listen((socket) => socket.write("hello\r\nSSH-2.0-OpenSSH_9.2\r\n"));
  expect(await readBanner("127.0.0.1", port, 30_000)).toEqual({
    kind: "answers",
    seen: "SSH-2.0-OpenSSH_9.2",
  });
});

test("a connection that stays silent is no sign of life", async () => {
  const port = await listen(() => {});
  expect((await readBanner("127.0.0.1", port, 100)).kind).toBe("silent");
});

test("a connection that is closed at once is no sign of life", async () => {
  const port = await listen((socket) => socket.end());
  expect((await readBanner("127.0.0.1", port, 30_000)).kind).toBe("silent");
});

test("what floods without a banner is given up at a bound", async () => {
  const port = await listen((socket) => socket.write("x".repeat(1024 * 1024)));
  expect((await readBanner("127.0.0.1", port, 30_000)).kind).toBe("silent");
});

test("a refused connection is unreachable", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  expect(await readBanner("127.0.0.1", port, 30_000)).toEqual({
    kind: "unreachable",
    seen: "connection refused",
  });
});
