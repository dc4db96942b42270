import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { Answer } from "./listen.ts";

/** A socket's path may be this long (108 bytes on Linux, 104 on macOS, the closing NUL included). */
const controlPathBytesMax = 103;

/**
 * The door for whoever owns the data directory: a unix socket, 0600, for `breakglass link` and `breakglass verb`. Who can open
 * it is an Operator: `answer` serves the routes of the port without asking who it is. Only the process that holds the
 * data directory opens it, so that a socket left by a killed one may be removed.
 * Rejects when it cannot be opened; the server works without it.
 */
export function openControl(deps: {
  readonly path: string;
  readonly port: number;
  readonly mintLink: () => string;
  readonly answer: Answer;
}): Promise<{ close(): void }> {
  const { path, port, mintLink, answer } = deps;
  const server = createServer((request, response) => {
    if (request.method !== "POST" || request.url !== "/link") return answer(request, response);
    request.resume();
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ link: mintLink(), port }));
  });
  return new Promise((resolve, reject) => {
    if (Buffer.byteLength(path) > controlPathBytesMax) {
      reject(new Error(`The path ${path} is too long for a socket: choose a shorter data directory.`));
      return;
    }
    rmSync(path, { force: true });
    server.once("error", reject);
    // Bound at once, and never open to others, not even for a moment.
    const umask = process.umask(0o177);
    server.listen(path, () => {
      try {
        chmodSync(path, 0o600);
      } catch (error) {
        // A door that others could open is none.
        server.close();
        return reject(error);
      }
      resolve({
        close() {
          server.close();
          server.closeAllConnections();
        },
      });
    });
    process.umask(umask);
  });
}
