import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { ErrorBody, Health } from "../../protocol/api.ts";

/** Bounds on what a client may keep open without asking for anything. */
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;
/** One more is closed by Node at once; phones try again. */
const connectionsMax = 5_000;

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface Listening {
  readonly server: Server;
  /** The port that was taken, which matters where 0 was asked for. */
  readonly port: number;
  /** From now on requests are answered; those that came before have waited. */
  serve(answer: Answer): void;
  /** Resolves when every connection is closed; idle ones are closed at once, and after `graceMs` all. */
  close(graceMs: number): Promise<void>;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** For the only answer that is given here. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Takes the port before the rest of the server is loaded: /health is answered at once, everything else as soon as there is
 * somebody to answer it. Rejects with Node's error when the address cannot be had.
 */
export function listen({ host, port, headers }: ListenOptions): Promise<Listening> {
  const ready = Promise.withResolvers<Answer>();
  let answer: Answer = (request, response) => void ready.promise.then((later) => later(request, response));
  const server = createServer(
    { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs },
    (request, response) => {
      const asksHealth = request.url?.split("?")[0] === "/health";
      if (asksHealth && (request.method === "GET" || request.method === "HEAD"))
        sayHealthy(response, headers);
      else answer(request, response);
    },
  );
  server.maxConnections = connectionsMax;
  server.on("clientError", refuseNonsense);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      const bound = server.address();
      resolve({
        server,
        port: typeof bound === "object" && bound !== null ? bound.port : port,
        serve(given) {
          answer = given;
          ready.resolve(given);
        },
        close: (graceMs) => close(server, graceMs),
      });
    });
  });
}

function sayHealthy(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  const health: Health = { status: "ok", service: "claude-breakglass" };
  response.writeHead(200, { ...headers, "Content-Type": "application/json" }).end(JSON.stringify(health));
}

/** What is no HTTP gets the same shape of answer as everything else, and its connection ends. */
function refuseNonsense(_error: Error, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy();
  const body: ErrorBody = { detail: "This was no HTTP request that can be answered; nothing was done." };
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n${JSON.stringify(body)}`,
  );
}

function close(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), graceMs);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
