import { connect, type Socket } from "node:net";
import { relay } from "./relay.ts";
import { encodeJson, frame, knocked } from "./wire.ts";

/** Kept waiting, so that a knock need not wait for a connection to be made. */
const parkedMin = 2;
/** Knocks that are open at once; further ones wait in the runner. As many as the Broker hears of one Session. */
const relaysMax = 128;

/** Lends a cage connections on which its agent's knocks come back to us, and hands each on to the Broker's door. */
export function openParking(deps: {
  readonly cage: string;
  readonly dial: () => Socket;
  readonly doorPath: string;
}): { open(): void; close(): void } {
  const { cage, dial, doorPath } = deps;
  const lines = new Set<Socket>();
  let waiting = 0;
  const closed = new AbortController();

  function park(): void {
    while (!closed.signal.aborted && waiting < parkedMin && lines.size < relaysMax) {
      waiting++;
      const line = dial();
      lines.add(line);
      line.on("error", () => {});
      line.write(encodeJson(frame.park, { cage }));
      let knock = false;
      line.once("data", (first: Buffer) => {
        knock = true;
        waiting--;
        park();
        if (first[0] !== knocked[0]) return void line.destroy();
        if (first.length > 1) line.unshift(first.subarray(1));
        relay(line, connect(doorPath));
      });
      line.on("close", () => {
        lines.delete(line);
        if (knock) return park();
        // One that ends unused says that the cage is gone, or that the runner has too many: not again at once.
        waiting--;
      });
    }
  }

  return {
    open: park,
    close() {
      closed.abort();
      for (const line of lines) line.destroy();
    },
  };
}
