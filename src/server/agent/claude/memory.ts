import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { TurnId } from "../../../protocol/ids.ts";

/** A longer memory is not searched, and taken for whole. */
const searchedBytesMax = 256 * 1024 * 1024;

/** How the agent's file writes the end of an answer. Where a later version writes it otherwise the record goes along needlessly. */
const answered = '"stop_reason":"end_turn"';

/**
 * Whether what the agent has kept on disk holds that Turn from its prompt to its answer: it writes a moment behind what it
 * does, and on a full disk nothing or half of it. True also where nothing can be read: whether there is a memory, the agent says itself.
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
    let wanted = [turn, answered];
    let rest = Buffer.alloc(0);
    for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      for (const next of wanted) {
        const at = rest.indexOf(next);
        if (at < 0) break;
        rest = rest.subarray(at + next.length);
        wanted = wanted.slice(1);
      }
      if (wanted.length === 0) return true;
      rest = rest.subarray(-turn.length);
    }
    return false;
  } catch {
    return true;
  } finally {
    await file.close();
  }
}
