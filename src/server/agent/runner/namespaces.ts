import { readlinkSync } from "node:fs";
import type { Welcome } from "./wire.ts";

/** Which processes and which files this process sees, by the kernel's own names (namespaces(7)); empty where it has none. */
export function namespacesHere(): Welcome["namespaces"] {
  return { pid: nameOf("pid"), mnt: nameOf("mnt") };
}

/**
 * Whether who runs there without a cage could read the server's key or memory: root or the server's own account, and not in
 * another container. Sharing one of both is enough: the files, or the processes whose memory holds what was in the files.
 */
export function reachesServer({ uid, namespaces }: Welcome): boolean {
  if (uid !== 0 && uid !== process.getuid?.()) return false;
  const here = namespacesHere();
  return namespaces.pid === here.pid || namespaces.mnt === here.mnt;
}

function nameOf(kind: string): string {
  try {
    return readlinkSync(`/proc/self/ns/${kind}`);
  } catch {
    // No Linux: what cannot be told apart counts as the same.
    return "";
  }
}
