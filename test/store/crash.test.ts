import { rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { start } from "../../src/server/process/start.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import { kindOf } from "./contract.ts";
import { temporaryDirectory } from "./places.ts";

const kills = 55;
const linesMax = 250;

let directory: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => rm(directory, { recursive: true }));

/** What is known of a stream: the token of each id that was acknowledged or once read, and the last id that was seen. */
interface Known {
  readonly tokens: Map<number, string>;
  seen: number;
}

test(
  `${kills} times kill -9 at any moment: nothing acknowledged or seen is lost, nothing is doubled, no id is missing`,
  { timeout: 900_000 },
  async () => {
    const known = new Map<string, Known>();
    const random = randomFrom(Date.now());
    for (let run = 0; run < kills; run++) {
      await writeUntilKilled(String(run), Math.floor(random() * linesMax), random() * 3, known);
      await check(known, `kill ${run}`);
    }
    expect([...known.values()].reduce((sum, { tokens }) => sum + tokens.size, 0)).toBeGreaterThan(kills);
  },
);

test("a second process is refused, and is free to go on when the first was killed", async () => {
  const first = startWriter("first");
  const lines = createInterface({ input: first.stdout })[Symbol.asyncIterator]();
  const nextLine = async () => {
    const { done, value } = await lines.next();
    if (done === true) throw new Error(`The first process ended: ${JSON.stringify(await first.exit)}`);
    return value;
  };
  expect(await nextLine()).toBe("open");
  expect(await kindOf(openFiles({ directory }))).toBe("taken");
  await expect(openFiles({ directory })).rejects.toThrow(
    /Another process works with .*It goes on undisturbed\. Stop it first/,
  );
  const second = startWriter("second");
  second.stdout.resume();
  second.stderr.resume();
  expect(await second.exit).toEqual({ kind: "exited", code: 1 });
  // The first is undisturbed: it still acknowledges.
  for (let acknowledged = 0; acknowledged < 100;) if ((await nextLine()).startsWith("ack ")) acknowledged++;
  first.kill("SIGKILL");
  await first.exit;
  const store = await openFiles({ directory });
  expect(await store.list("")).toContain("audit");
  await store.close();
});

test("a directory is free again after an orderly close, in the same process too", async () => {
  const first = await openFiles({ directory });
  expect(await kindOf(openFiles({ directory }))).toBe("taken");
  await first.append("a", [{ kind: "note" }]);
  await first.close();
  const second = await openFiles({ directory });
  expect(await second.head("a")).toBe(0);
  await second.close();
});

function startWriter(run: string) {
  return start({
    file: process.execPath,
    // As this test itself was started: with what was compiled once.
    args: [...process.execArgv, join(import.meta.dirname, "writer.ts"), directory, run],
    env: {},
  });
}

/** Kills it `lines` lines and then `ms` milliseconds after it began, and takes down all that it said until then. */
async function writeUntilKilled(
  run: string,
  lines: number,
  ms: number,
  known: Map<string, Known>,
): Promise<void> {
  const writer = startWriter(run);
  let stderr = "";
  writer.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const killSoon = () => void setTimeout(() => writer.kill("SIGKILL"), ms);
  let heard = 0;
  if (lines === 0) killSoon();
  for await (const line of createInterface({ input: writer.stdout })) {
    if (++heard === lines) killSoon();
    const [what, stream, firstId, ...rest] = line.split(" ");
    if (what === "open") continue;
    const { tokens } = of(known, stream!);
    if (what === "ack") rest.forEach((token, n) => tokens.set(Number(firstId) + n, token));
    else of(known, stream!).seen = Math.max(of(known, stream!).seen, Number(rest[0]));
  }
  expect(await writer.exit, stderr).toEqual({ kind: "signalled", signal: "SIGKILL" });
}

async function check(known: Map<string, Known>, when: string): Promise<void> {
  const store = await openFiles({
    directory,
    report: (notice) => expect(notice).toMatch(/unfinished write/),
  });
  const found = new Set<string>();
  for (const stream of new Set([...known.keys(), ...(await store.list(""))])) {
    const { tokens, seen } = of(known, stream);
    const records = await store.read(stream, -1, Infinity);
    expect(
      records.map((record) => record.id),
      when,
    ).toEqual(records.map((_, id) => id));
    expect(records.length - 1, `${when}: last of ${stream}`).toBeGreaterThanOrEqual(
      Math.max(seen, ...tokens.keys()),
    );
    for (const { id, token } of records) {
      expect(found.has(String(token)), `${when}: ${String(token)} is doubled`).toBe(false);
      found.add(String(token));
      expect(tokens.get(id) ?? token, `${when}: ${stream} ${id}`).toBe(token);
      // From now on it has been seen: no later crash may change it.
      tokens.set(id, String(token));
    }
  }
  await store.close();
}

function of(known: Map<string, Known>, stream: string): Known {
  let facts = known.get(stream);
  if (facts === undefined) known.set(stream, (facts = { tokens: new Map(), seen: -1 }));
  return facts;
}

/** Mulberry32. The seed does not make a crash repeatable, it only spreads the moments. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
