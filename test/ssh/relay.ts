import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A way between ssh and sshd that can go deaf as a lost network does: nothing passes, and nobody is told. */
export interface Relay {
  /** On 127.0.0.1. */
  readonly port: number;
  /** From now on nothing passes on the connections that there are; "all": nor on any new one. */
  goDeaf(which?: "present" | "all"): void;
  close(): Promise<void>;
}

export async function startRelay(to: number): Promise<Relay> {
  const pairs = new Set<{ deaf: boolean }>();
  const sockets = new Set<Socket>();
  let deafToNew = false;
  const server = createServer((near) => {
    const far = connect(to, "127.0.0.1");
    const pair = { deaf: deafToNew };
    pairs.add(pair);
    for (const [from, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("data", (bytes) => void (pair.deaf || other.write(bytes)));
      from.on("close", () => {
        sockets.delete(from);
        if (!pair.deaf) other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    goDeaf(which = "present") {
      for (const pair of pairs) pair.deaf = true;
      deafToNew = which === "all";
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
