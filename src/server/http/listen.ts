import { createServer, type Server } from "node:http";
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";
import type { Env } from "./env.ts";

/** Bounds on what a client may keep open without asking for anything. */
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;
const connectionsMax = 5_000;

export interface Listening {
  readonly server: Server;
  /** The port that was taken, which matters where 0 was asked for. */
  readonly port: number;
  /** Resolves when every connection is closed; idle ones are closed at once, and after `graceMs` all. */
  close(graceMs: number): Promise<void>;
}

/** Rejects with Node's error when the address cannot be had. */
export function listen(
  app: Hono<Env>,
  address: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const server = createServer(
    { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs },
    getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], {
      overrideGlobalObjects: false,
    }),
  );
  server.maxConnections = connectionsMax;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, () => {
      const bound = server.address();
      const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
      resolve({ server, port, close: (graceMs) => close(server, graceMs) });
    });
  });
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
