import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** Beyond this a process that will not die (state D, a fork bomb) is reported instead of waited for. */
const sweepMs = 1000;
/** Between two looks; a killed process is gone within about this time. */
const lookAgainMs = 1;

/** SIGKILL to what `find` finds, until it finds nothing. False when that took too long. Linux. */
export async function endAll(find: () => readonly number[]): Promise<boolean> {
  const until = performance.now() + sweepMs;
  for (;;) {
    const found = find();
    if (found.length === 0) return true;
    for (const pid of found) signal(pid, "SIGKILL");
    if (performance.now() > until) return false;
    await pause(lookAgainMs);
  }
}

/** All living descendants. Within a pid namespace nothing can leave the tree of its first process. */
export function descendants(pid: number): number[] {
  const found: number[] = [];
  const queue = children(pid);
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (isLiving(next)) found.push(next);
    queue.push(...children(next));
  }
  return found;
}

/** Living processes that were started with `entry` ("NAME=value") in their environment, ourselves excepted. */
export function tagged(entry: string): number[] {
  return all().filter((pid) => pid !== process.pid && isTagged(pid, entry) && isLiving(pid));
}

export function isTagged(pid: number, entry: string): boolean {
  return environOf(pid).includes(`\0${entry}\0`);
}

/** Living processes of an account, ourselves excepted. */
export function ofAccount(uid: number): number[] {
  return all().filter((pid) => pid !== process.pid && uidOf(pid) === uid && isLiving(pid));
}

/** Its name, for a person. */
export function nameOf(pid: number): string {
  return read(`/proc/${pid}/comm`)?.toString().trim() ?? "gone";
}

function all(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The real one: who may be signalled, and who is counted. */
function uidOf(pid: number): number | undefined {
  const uid = /^Uid:\t(\d+)/m.exec(read(`/proc/${pid}/status`)?.toString() ?? "")?.[1];
  return uid === undefined ? undefined : Number(uid);
}

export function children(pid: number): number[] {
  return (read(`/proc/${pid}/task/${pid}/children`)?.toString() ?? "").split(" ").filter(Boolean).map(Number);
}

/** The pid as the process sees it itself in its innermost namespace (proc(5), NSpid). */
export function innerPid(pid: number): number | undefined {
  const line = /^NSpid:\t(.*)$/m.exec(read(`/proc/${pid}/status`)?.toString() ?? "");
  return line?.[1] === undefined ? undefined : Number(line[1].split("\t").at(-1));
}

/** Those that have not ended. */
export const living = (pids: readonly number[]) => pids.filter(isLiving);

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** A zombie has nothing left but its exit code. The state follows the name, which may hold ")" itself (proc(5)). */
function isLiving(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`)?.toString();
  return stat !== undefined && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

const environOf = (pid: number) =>
  Buffer.concat([Buffer.from("\0"), read(`/proc/${pid}/environ`) ?? Buffer.alloc(0), Buffer.from("\0")]);

/** undefined: gone between two looks, or another user's. */
function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM") return undefined;
    throw error;
  }
}
