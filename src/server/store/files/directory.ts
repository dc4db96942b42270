import { constants } from "node:fs";
import { dirname, join } from "node:path";
import { StoreError } from "../store.ts";
import type { Disk } from "./disk.ts";
import { codeOf, mendOf } from "./faults.ts";

/**
 * Makes the data directory if need be (0700), and sees whether it takes a durable write: throws "unwritable" if not.
 * A full one is only told of: what is recorded can be read, and it goes on when there is space.
 */
export async function prepareDirectory(
  disk: Disk,
  directory: string,
  report: (notice: string) => void,
): Promise<void> {
  try {
    await ensureDirectory(disk, join(directory, "streams"));
    await syncDirectory(disk, directory);
    await syncParent(disk, directory);
    await checkWrite(disk, join(directory, "write-check"));
  } catch (error) {
    const sentence = `The data directory ${directory} cannot be used: ${mendOf(error)}`;
    if (codeOf(error) !== "ENOSPC" && codeOf(error) !== "EDQUOT")
      throw new StoreError("unwritable", sentence, { cause: error });
    report(`${directory} takes no more: ${mendOf(error)}`);
  }
}

async function checkWrite(disk: Disk, path: string): Promise<void> {
  const fd = await disk.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    await disk.write(fd, Buffer.from("Written at each start.\n"), 0);
    await disk.fdatasync(fd);
  } finally {
    await disk.close(fd);
  }
}

/** Makes a directory and those above it. Node's own recursive mkdir answers ENOENT for a read-only file system. */
export async function ensureDirectory(disk: Disk, path: string): Promise<void> {
  try {
    await makeUnlessThere(disk, path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT" || dirname(path) === path) throw error;
    await ensureDirectory(disk, dirname(path));
    await makeUnlessThere(disk, path);
  }
}

/** What was made or renamed in a directory is only there after a power cut when the directory was flushed. */
export async function syncDirectory(disk: Disk, path: string): Promise<void> {
  const fd = await disk.open(path, constants.O_RDONLY);
  try {
    await disk.fsync(fd);
  } finally {
    await disk.close(fd);
  }
}

/** It may belong to somebody else who does not let us look into it: then it was there before us. */
async function syncParent(disk: Disk, directory: string): Promise<void> {
  try {
    await syncDirectory(disk, dirname(directory));
  } catch (error) {
    if (codeOf(error) !== "EACCES" && codeOf(error) !== "EPERM") throw error;
  }
}

async function makeUnlessThere(disk: Disk, path: string): Promise<void> {
  try {
    await disk.mkdir(path, 0o700);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}
