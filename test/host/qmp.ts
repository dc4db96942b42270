import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";

/** A client of a QEMU monitor that has not negotiated yet. */
export async function openQmp(path: string) {
  const socket = connect(path);
  await once(socket, "connect");
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const read = async () => JSON.parse((await lines.next()).value as string) as Record<string, unknown>;
  return {
    greeting: await read(),
    ask: (execute: string, more: object = {}) => {
      socket.write(`${JSON.stringify({ execute, ...more })}\n`);
      return read();
    },
    end: () => socket.destroy(),
  };
}

type Qmp = Awaited<ReturnType<typeof openQmp>>;

/** How often the machine's disk has been read so far. */
export async function readOperations(qmp: Qmp): Promise<number> {
  const { return: disks } = (await qmp.ask("query-blockstats")) as {
    return: [{ stats: { rd_operations: number } }];
  };
  return disks[0].stats.rd_operations;
}
