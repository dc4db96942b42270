import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { TurnId } from "../../../protocol/ids.ts";

/** A longer memory is not searched, and taken for whole. */
const searchedBytesMax = 256 * 1024 * 1024;

/**
 * Whether what the agent has kept on disk holds the prompt of that Turn: it writes a moment behind what it does, and not
 * at all on a full disk. True also where nothing can be read: whether there is a memory, the agent says itself.
 */
export async function remembers(
  kept: { readonly memory: string; readonly workspace: string; readonly agentSession: string },
  turn: TurnId,
): Promise<boolean> {
  const project = kept.workspace.replaceAll(/[^A-Za-z0-9]/g, "-");
  const path = join(kept.memory, "projects", project, `${kept.agentSession}.jsonl`);
  // The folder is the agent's: what lies there may be a pipe that never ends, or a link to somewhere else.
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  if (file === undefined) return true;
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > searchedBytesMax) return true;
    let before = Buffer.alloc(0);
    for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      const seen = Buffer.concat([before, chunk]);
      if (seen.includes(turn)) return true;
      before = seen.subarray(-turn.length);
    }
    return false;
  } catch {
    return true;
  } finally {
    await file.close();
  }
}
