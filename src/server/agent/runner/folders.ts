import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { SessionId } from "../../../protocol/ids.ts";

export interface Folders {
  readonly workspace: string;
  readonly memory: string;
  readonly temporary: string;
}

/** What one Session's agent keeps, outside the store and unredacted. */
export function foldersOf(sessionsDir: string, session: SessionId): Folders {
  const own = join(sessionsDir, session);
  return { workspace: join(own, "workspace"), memory: join(own, "memory"), temporary: join(own, "tmp") };
}

/** Throws what mkdir throws: no space, no permission. */
export function makeFolders(folders: Folders): void {
  for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true, mode: 0o700 });
}
