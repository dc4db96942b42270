import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A network between ssh and sshd. */
export interface Relay {
  /** On 127.0.0.1. */
  readonly port: number;
  /** The connections of now are gone, as when a network is cut and says so. */
  cut(): void;
  /** Nothing passes on the connections of now, and nobody is told, as behind a router that forgot them; "all": nor on new ones. */
  goDeaf(which?: "present" | "all"): void;
  /** New connections are refused until what this answers is called. */
  refuse(): () => void;
  close(): Promise<void>;
}

export async function startRelay(to: number): Promise<Relay> {
  const pairs = new Set<{ deaf: boolean }>();
  const sockets = new Set<Socket>();
  let deafToNew = false;
  let refusing = false;
  const server = createServer((near) => {
    if (refusing) return void near.destroy();
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
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    goDeaf(which = "present") {
      for (const pair of pairs) pair.deaf = true;
      deafToNew = which === "all";
    },
    refuse() {
      refusing = true;
      return () => (refusing = false);
    },
    async close() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
