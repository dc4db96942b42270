import type { Running } from "../../process/start.ts";
import { guardLines } from "./lines.ts";
import type { Life } from "./runner.ts";

/** A process of this machine as an agent's; `told` is called at its first bytes and at a line that is too long. */
export function lifeOf(
  running: Running,
  told: { readonly first: () => void; readonly tooLong: () => void },
): Life {
  const { stdin, stderr, exit } = running;
  if (stdin === null) throw new Error("The agent's process was started without stdin.");
  return { stdin, stderr, exit, stdout: guardLines(running.stdout, told) };
}
