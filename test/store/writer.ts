/**
 * A process that is going to be killed: `writer.ts <directory> <run>`. It appends to several streams at once, for
 * ever, and says what it was told, one line each, written before anything else happens:
 *
 *     open | ack <stream> <first id> <token of each record>... | seen <stream> <first id> <last id>
 */
import { writeSync } from "node:fs";
import { openFiles } from "../../src/server/store/files/files.ts";

const [directory, run] = process.argv.slice(2);
const store = await openFiles({ directory: directory!, openStreamsMax: 5 });
say("open");

const streams = ["audit", "session/a", "session/b", "session/c", "operation/x"];
let count = 0;
await Promise.all(
  streams.flatMap((stream, n) => [write(stream), ...(n % 2 === 0 ? [write(stream), write(stream)] : [])]),
);

async function write(stream: string): Promise<never> {
  store.watch(stream, ({ firstId, lastId }) => say(`seen ${stream} ${firstId} ${lastId}`));
  for (;;) {
    const tokens = Array.from({ length: 1 + (count % 3) }, () => `${run}.${count++}`);
    const bodies = tokens.map((token) => ({ kind: "note", token, text: "x".repeat((count * 977) % 5000) }));
    const { firstId } = await store.append(stream, bodies);
    say(`ack ${stream} ${firstId} ${tokens.join(" ")}`);
  }
}

/** Synchronous: what a line says is true when it can be read, and it can be read when the process is dead. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}
