import { Transform, type Readable } from "node:stream";

/** Its reader keeps a line in memory until it ends. Events are 8 MiB at most; an agent whose line is longer is ended. */
const lineBytesMax = 64 * 1024 * 1024;

/** What the agent writes, as it is, with a word about its first bytes and about a line beyond the bound. */
export function guardLines(
  from: Readable,
  told: { readonly first: () => void; readonly tooLong: () => void },
): Readable {
  let lineBytes = 0;
  let begun = false;
  const guard = new Transform({
    transform(chunk: Buffer, _, done) {
      if (!begun) told.first();
      begun = true;
      const end = chunk.lastIndexOf(0x0a);
      lineBytes = end < 0 ? lineBytes + chunk.length : chunk.length - end - 1;
      if (lineBytes > lineBytesMax) told.tooLong();
      done(null, lineBytes > lineBytesMax ? undefined : chunk);
    },
  });
  // A pipe that was given up ends here too.
  from.once("close", () => guard.end());
  return from.pipe(guard);
}
