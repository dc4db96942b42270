import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { systemPath } from "../../process/programs.ts";

/** Outlives us by a moment: whatever carries its mark ends with this process, however that ends. */
export interface Keeper {
  /** For the environment of what it keeps. */
  readonly mark: Readonly<Record<string, string>>;
  readonly pid: number | undefined;
  close(): void;
}

/**
 * Without a cage nothing ties a process to us: after kill -9 an agent would go on. The keeper waits for the end of our pipe,
 * then ends whatever has its mark in the environment (proc(5), environ), until there is none.
 */
export function openKeeper(): Keeper {
  const name = "BG_KEPT";
  const value = randomUUID();
  const script = `cat >/dev/null
while found=$(grep -lzsx "$1" /proc/[0-9]*/environ); [ -n "$found" ]; do
  for file in $found; do pid=\${file#/proc/}; kill -9 "\${pid%/environ}" 2>/dev/null; done
done`;
  // Not by start(): that would end it together with what it is to outlive.
  const child = spawn("/bin/sh", ["-c", script, "sh", `${name}=${value}`], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
    env: { PATH: systemPath },
  });
  child.on("error", () => {});
  child.stdin.on("error", () => {});
  child.unref();
  return { mark: { [name]: value }, pid: child.pid, close: () => void child.stdin.destroy() };
}
