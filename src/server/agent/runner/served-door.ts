import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { relay } from "./relay.ts";
import { knocked } from "./wire.ts";

/** Knocks that wait for a way back to the server; one more is closed unheard, and the shim says that the line was lost. */
const knocksMax = 128;

/** Where the agent of one cage knocks: each knock goes back to the server over a connection that it has parked here. */
export interface ServedDoor {
  park(line: Socket): void;
  close(): void;
}

export async function openServedDoor(socketPath: string): Promise<ServedDoor> {
  const parked: Socket[] = [];
  const knocks: Socket[] = [];
  const open = new Set<Socket>();
  const server = createServer((knock) => {
    hold(knock, knocks);
    if (knocks.length > knocksMax) return void knock.destroy();
    pair();
  });
  // What a runner that was killed has left.
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, resolve);
  });
  return {
    park(line) {
      hold(line, parked);
      pair();
    },
    close() {
      server.close();
      for (const socket of open) socket.destroy();
      rmSync(socketPath, { force: true });
    },
  };

  function hold(socket: Socket, list: Socket[]): void {
    open.add(socket);
    list.push(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      open.delete(socket);
      const at = list.indexOf(socket);
      if (at >= 0) list.splice(at, 1);
    });
  }

  function pair(): void {
    while (parked.length > 0 && knocks.length > 0) {
      const line = parked.shift()!;
      line.write(knocked);
      relay(line, knocks.shift()!);
    }
  }
}
