import { appendFileSync, mkdirSync, rmSync } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { isUuid, type OperationId } from "../../protocol/ids.ts";
import { within, type Clock } from "../clock.ts";
import { StoreError, type Body, type Store, type StoredRecord, type StreamName } from "../store/store.ts";
import { indexStream, operationStream } from "./records.ts";

/**
 * What was done and could not be recorded yet: a folder with one small file per Operation, one line of JSON per record. The
 * index is not kept, since its lines are in the files as well. The next server start brings it into the record (spooled.ts).
 */
export const spoolSuffix = ".jsonl";

/** Beyond so many Operations nothing more is spooled, and they say so (`durable: false`): no server has started for long. */
const spooledOperationsMax = 1_000;
/** A data directory that has not taken a small file by then is passed over. */
const writableMs = 500;

const spoolIn = (folder: string) => join(folder, "spool");

/** The two places where a spool may be, the one that is preferred first. */
export function spoolFolders(dataDir: string, keptFolder: string | null): readonly string[] {
  return [dataDir, ...(keptFolder === null ? [] : [keptFolder])].map(spoolIn);
}

/** A copy, in memory, of what waits for the record: it outlives a server that is killed. */
export interface Mirror {
  /**
   * Adds to what is kept of an Operation (null: nothing new). Its file goes when all that was kept has been let go by the
   * answered function. Never throws, and is synchronous: the power path uses none of Node's threads.
   */
  keep(id: OperationId, body: Body | null): () => void;
}

export function mirrorIn(keptFolder: string, log: (text: string) => void): Mirror {
  const folder = spoolIn(keptFolder);
  const held = new Map<OperationId, number>();
  let told = false;
  const attempt = (act: () => void) => {
    try {
      act();
    } catch (error) {
      if (!told) log(`power: the spool in memory, ${folder}, does not work (${String(error)}). Verbs go on.`);
      told = true;
    }
  };
  attempt(() => mkdirSync(folder, { recursive: true, mode: 0o700 }));
  return {
    keep(id, body) {
      held.set(id, (held.get(id) ?? 0) + 1);
      if (body !== null) attempt(() => appendFileSync(fileIn(folder, id), lineOf(body), { mode: 0o600 }));
      return () => {
        const left = held.get(id)! - 1;
        if (left > 0) return void held.set(id, left);
        held.delete(id);
        attempt(() => rmSync(fileIn(folder, id), { force: true }));
      };
    },
  };
}

/** The first of the folders that takes a file in time. Rejects when none does. */
export async function writableSpool(clock: Clock, folders: readonly string[]): Promise<string> {
  for (const folder of folders) {
    const written = writeCheck(folder).then(
      () => true,
      () => false,
    );
    if (await within(clock, writableMs, written)) return folder;
  }
  throw new StoreError("unwritable", `Nothing can be written to ${folders.join(" or ")}.`);
}

async function writeCheck(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `write-check-${process.pid}`);
  await appendFile(path, "Written at each start.\n", { mode: 0o600, flush: true });
  await rm(path);
}

/**
 * The spool as a Store, for a process without a server. It begins empty: what is in the folder already was written by others, and
 * the host knows a key that was used before.
 */
export function spoolStore(folder: string): Store {
  const heads = new Map<StreamName, number>();
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other, so that lines keep their order. */
  async function write(id: OperationId, bodies: readonly Body[]): Promise<void> {
    try {
      if ((await readdir(folder)).length > spooledOperationsMax)
        throw new Error(`more than ${spooledOperationsMax} operations wait there; start the server once`);
      await appendFile(fileIn(folder, id), bodies.map(lineOf).join(""), { mode: 0o600, flush: true });
    } catch (error) {
      const why = (error as Error).message;
      throw new StoreError("unwritable", `The spool ${folder} takes nothing (${why}).`, { cause: error });
    }
  }

  return {
    async append(stream, bodies, { expectedHead } = {}) {
      const head = heads.get(stream) ?? -1;
      if (expectedHead !== undefined && expectedHead !== head)
        throw new StoreError("head_moved", `${stream} has been written to already.`);
      const id = operationOf(stream);
      if (id !== null) await (last = last.catch(() => {}).then(() => write(id, bodies)));
      heads.set(stream, head + bodies.length);
      return { firstId: head + 1, lastId: head + bodies.length };
    },
    head: async (stream) => heads.get(stream) ?? -1,
    async read(stream, after, limit) {
      const id = operationOf(stream);
      if (id === null || !heads.has(stream)) return [];
      const bodies = await readSpooled(fileIn(folder, id));
      return bodies
        .map((body, at): StoredRecord => ({ ...body, id: at }))
        .slice(after + 1, after + 1 + limit);
    },
    async list(prefix) {
      return [...heads.keys()].filter((stream) => stream.startsWith(prefix)).toSorted();
    },
    async freeBytes() {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
    // Nobody follows a spool, and what is in it was written when append resolved.
    readFrames: async () => null,
    watch: () => () => {},
    close: async () => {},
  };
}

/** The records of one file, in order; a line that a killed process left half written is passed over. */
export async function readSpooled(path: string): Promise<readonly Body[]> {
  const lines = (await readFile(path, "utf8")).split("\n");
  return lines.flatMap((line) => {
    try {
      const body = JSON.parse(line) as Body | null;
      return typeof body?.kind === "string" ? [body] : [];
    } catch {
      return [];
    }
  });
}

/** null: the index, whose lines are in the files of the Operations. */
function operationOf(stream: StreamName): OperationId | null {
  if (stream === indexStream) return null;
  const id = stream.slice(operationStream("" as OperationId).length);
  if (!isUuid(id)) throw new TypeError(`${stream} is no stream of the power path.`);
  return id;
}

function fileIn(folder: string, id: OperationId): string {
  return join(folder, id + spoolSuffix);
}

/** The line begins with a break: whatever a killed process left before it stays a line of its own. */
function lineOf(body: Body): string {
  return `\n${JSON.stringify(body)}`;
}
