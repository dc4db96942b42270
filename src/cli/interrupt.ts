import { endIfStuck } from "../server/process/end-if-stuck.ts";
import { killAll } from "../server/process/start.ts";

/** Whoever presses Ctrl-C is told what that means for what they asked, and is let go at once; nothing of ours stays behind. */
export function endOnInterrupt(tell: () => void): void {
  const end = () => {
    tell();
    killAll();
    endIfStuck();
    process.exit(exitCode);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, end);
}

/** As shells have it: 128 and SIGINT. */
const exitCode = 130;
