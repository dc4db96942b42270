import { mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventStream } from "../test/http/event-stream.ts";
import { startPinned, talkTo } from "./pinned.ts";
import { print } from "./print.ts";

const rounds = 8;
const stream = "00000000-0000-4000-8000-000000000009";

/** What a client has seen with a number, and what of it is gone after kill -9 in the middle of a burst. */
export async function benchKill(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "bg-bench-"));
  let seen = 0;
  let lost = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const child = startPinned(0, ["bench/stream-server.ts", directory]);
      const ended = once(child, "exit");
      const talk = talkTo(child);
      const { port } = (await talk(undefined)) as { port: number };
      const before = await replay(port);
      const client = await EventStream.open(`http://127.0.0.1:${port}/${stream}?tail=0`);
      talk({ do: "burst", stream, count: 20_000 }).catch(() => {});
      await client.until(({ ids }) => ids.length > 500 * (round + 1));
      child.kill("SIGKILL");
      await ended;
      const last = client.ids.at(-1) ?? -1;
      client.close();

      const again = startPinned(0, ["bench/stream-server.ts", directory]);
      const { port: next } = (await talkTo(again)(undefined)) as { port: number };
      const kept = new Set(await replay(next));
      again.kill("SIGKILL");
      seen += last + 1;
      for (let id = 0; id <= last; id++) lost += kept.has(id) ? 0 : 1;
      if (before.some((id) => !kept.has(id))) throw new Error("what was there before the round is gone");
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  print("seen by a client, then lost by kill -9", {
    lost,
    baseline: "seen before the kill",
    baselineSeen: seen,
    limit: "none",
  });
}

async function replay(port: number): Promise<readonly number[]> {
  const client = await EventStream.open(`http://127.0.0.1:${port}/${stream}`);
  await client.until((each) => each.named("caught-up").length > 0);
  client.close();
  return client.ids;
}
