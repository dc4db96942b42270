import { constants } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "../store.ts";
import type { Disk } from "./disk.ts";
import { codeOf, unwritable } from "./faults.ts";

export interface Lease {
  release(): void;
}

const sqliteBusy = 5;

/**
 * One process owns a data directory: an exclusive SQLite transaction on `lock.db`, held for life. The kernel frees its
 * lock when the process ends, kill -9 included; a pid in a file would mean nothing in containers. After its first use
 * nothing is written to it. The lock is fcntl's: closing any descriptor of lock.db in this process would let it go,
 * so nothing but SQLite may open that file once it exists. Network file systems may not keep such locks.
 */
export async function takeLease(disk: Disk, directory: string): Promise<Lease> {
  const path = join(directory, "lock.db");
  await makeLockFile(disk, path);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // An empty database would be written to by the transaction, and a full disk must not keep the server from starting.
    database.exec("CREATE TABLE IF NOT EXISTS held (unused); BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    if (error instanceof Error && "errcode" in error && error.errcode === sqliteBusy) {
      throw new StoreError(
        "taken",
        `Another process works with ${directory}. It goes on undisturbed. Stop it first, or give this one a directory of ` +
          "its own (BREAKGLASS_DATA_DIR).",
        { cause: error },
      );
    }
    throw new StoreError(
      "unwritable",
      `${path} cannot be locked (${error instanceof Error ? error.message : String(error)}). Nothing was changed. It holds ` +
        "nothing: if no server works with this directory, remove it and start again.",
      { cause: error },
    );
  }
  const held = database;
  return { release: () => held.close() };
}

/** SQLite would make it readable for all. */
async function makeLockFile(disk: Disk, path: string): Promise<void> {
  try {
    await disk.close(await disk.open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600));
  } catch (error) {
    if (codeOf(error) === "EEXIST") return;
    throw unwritable(`${path} cannot be made`, error);
  }
}
