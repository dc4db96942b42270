import { chmodSync, rmSync } from "node:fs";
import { createServer } from "node:http";

/** A socket's path may be this long (108 bytes on Linux, 104 on macOS, the closing NUL included). */
const controlPathBytesMax = 103;

/**
 * The door for whoever owns the data directory: a unix socket, 0600, that `npm run link` knocks at. Only the process
 * that holds the data directory opens it, so that a socket left by a killed one may be removed.
 * Rejects when it cannot be opened; the server works without it.
 */
export function openControl(deps: {
  readonly path: string;
  readonly port: number;
  readonly mintLink: () => string;
}): Promise<{ close(): void }> {
  const { path, port, mintLink } = deps;
  const server = createServer((request, response) => {
    request.resume();
    const known = request.method === "POST" && request.url === "/link";
    response.writeHead(known ? 200 : 404, { "Content-Type": "application/json" });
    response.end(
      JSON.stringify(
        known ? { link: mintLink(), port } : { detail: "The control socket knows POST /link only." },
      ),
    );
  });
  return new Promise((resolve, reject) => {
    if (Buffer.byteLength(path) > controlPathBytesMax) {
      reject(new Error(`The path ${path} is too long for a socket: choose a shorter data directory.`));
      return;
    }
    rmSync(path, { force: true });
    server.once("error", reject);
    server.listen(path, () => {
      try {
        chmodSync(path, 0o600);
        resolve({ close: () => server.close() });
      } catch (error) {
        // A door that others could open is none.
        server.close();
        reject(error);
      }
    });
  });
}
