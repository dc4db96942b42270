import { readdirSync, readFileSync } from "node:fs";

/** A process that SIGKILL does not end within this time is left. */
const endMs = 5_000;

/** Ends every process of this machine whose arguments are meant, itself excepted, and comes back when they are gone. */
export async function endProcesses(isMeant: (words: readonly string[]) => boolean): Promise<void> {
  const until = Date.now() + endMs;
  for (let left = find(isMeant); left.length > 0 && Date.now() < until; left = find(isMeant)) {
    for (const pid of left) kill(pid);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A zombie has no arguments, and so is never found. */
function find(isMeant: (words: readonly string[]) => boolean): number[] {
  return pids().filter((pid) => pid !== process.pid && isMeant(argumentsOf(pid)));
}

/** None where there is no /proc; nor can a job have begun there. */
function pids(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    // It has just ended.
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
