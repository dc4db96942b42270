import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFiles, type FilesOptions } from "../../src/server/store/files/files.ts";
import type { Place } from "./contract.ts";

export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), "breakglass-store-"));
}

export async function filesPlace(options: Omit<FilesOptions, "directory"> = {}): Promise<Place> {
  const directory = await temporaryDirectory();
  return {
    open: () => openFiles({ ...options, directory }),
    remove: () => rm(directory, { recursive: true }),
  };
}
