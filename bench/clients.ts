import { connect, type Socket } from "node:net";

/** Raw attached clients that count bytes: a bench of the server must not measure the client's parser. */
export class Clients {
  bytes = 0;
  readonly #sockets: Socket[] = [];
  #waiting: { readonly bytes: number; readonly resolve: () => void } | null = null;

  static async open(port: number, path: string, count: number): Promise<Clients> {
    const clients = new Clients();
    const shared = Buffer.alloc(1024 * 1024);
    await Promise.all(
      Array.from({ length: count }, () => {
        return new Promise<void>((resolve, reject) => {
          const socket: Socket = connect({
            host: "127.0.0.1",
            port,
            onread: {
              buffer: shared,
              callback: (bytes) => {
                clients.#take(bytes);
                return true;
              },
            },
          });
          socket.on("error", reject);
          socket.on("connect", () => {
            socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
            resolve();
          });
          clients.#sockets.push(socket);
        });
      }),
    );
    return clients;
  }

  /** Resolves when so many bytes have come in all since the last `reset`. */
  received(bytes: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = { bytes, resolve };
      this.#take(0);
    });
  }

  reset(): void {
    this.bytes = 0;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #take(bytes: number): void {
    this.bytes += bytes;
    if (this.#waiting === null || this.bytes < this.#waiting.bytes) return;
    this.#waiting.resolve();
    this.#waiting = null;
  }
}
