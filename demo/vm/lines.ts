import { once } from "node:events";
import { createServer, type Socket } from "node:net";

/** A request longer than this ends its connection. */
const requestBytesMax = 256 * 1024;

export interface LineServer {
  close(): Promise<void>;
}

export interface LineServerOptions {
  readonly path: string;
  /** Said to everybody who comes. */
  readonly greeting?: object;
  /** What was no JSON is undefined. */
  readonly answer: (request: unknown) => object | Promise<object>;
  /** One request a connection: its end says that the answer is whole. */
  readonly single?: boolean;
}

/** A server on a unix socket: a line of JSON each way, one after the other. */
export async function serveLines(options: LineServerOptions): Promise<LineServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Whoever asked may be gone before the answer comes; the answer then has no reader, and that is all.
    converse(socket, options).catch(() => socket.destroy());
  });
  server.listen(options.path);
  await once(server, "listening");
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function converse(socket: Socket, { greeting, answer, single }: LineServerOptions): Promise<void> {
  const say = (value: object) => socket.write(`${JSON.stringify(value)}\n`);
  if (greeting !== undefined) say(greeting);
  let text = "";
  for await (const chunk of socket.setEncoding("utf8").iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.length > requestBytesMax) return void socket.destroy();
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      say(await answer(parse(text.slice(0, end))));
      if (single === true) return void socket.end();
      text = text.slice(end + 1);
    }
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
