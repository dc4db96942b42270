import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface Relay {
  readonly port: number;
  /** The lines of now are gone, as when a network is cut and says so. */
  cut(): void;
  /** The lines of now carry nothing any more and stay open, as behind a router that forgot them. New ones work. */
  goDeaf(): void;
  /** New lines are refused until it is called off. */
  refuse(): () => void;
  close(): Promise<void>;
}

/** A network between ssh and sshd, on loopback. */
export async function startRelay(targetPort: number): Promise<Relay> {
  const lines = new Set<readonly [Socket, Socket]>();
  let refusing = false;
  const server = createServer((near) => {
    if (refusing) return void near.destroy();
    const far = connect(targetPort, "127.0.0.1");
    const line = [near, far] as const;
    lines.add(line);
    near.pipe(far);
    far.pipe(near);
    for (const end of line) {
      end.on("error", () => {});
      end.on("close", () => {
        lines.delete(line);
        for (const each of line) each.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const all = () => [...lines].flat();
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      for (const end of all()) end.destroy();
    },
    goDeaf() {
      for (const end of all()) {
        end.unpipe();
        end.pause();
      }
    },
    refuse() {
      refusing = true;
      return () => (refusing = false);
    },
    close() {
      for (const end of all()) end.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
