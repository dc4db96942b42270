import type { Socket } from "node:net";

/** Bytes both ways, each in the pace of who reads; when one side goes, so does the other. */
export function relay(one: Socket, other: Socket): void {
  one.pipe(other);
  other.pipe(one);
  for (const [side, far] of [
    [one, other],
    [other, one],
  ] as const) {
    side.on("error", () => far.destroy());
    side.on("close", () => {
      // Ended in order, the other has been told so, and still gets what was said; what it says goes nowhere.
      if (side.readableEnded) far.resume();
      else far.destroy();
    });
  }
}
