import type { Kept } from "./report.ts";

/** Both ends of a Kept. */
export function all<T>({ first, last }: Kept<T>): readonly T[] {
  return [...first, ...last];
}

export function size<T>(kept: Kept<T>): number {
  return kept.first.length + kept.left_out + kept.last.length;
}

/** A list that grows and stays bounded: half of `max` from its beginning, half from its end. */
export interface Keeping<T> {
  add(value: T): void;
  /** Changes the newest that fits and is still there; answers whether there was one. */
  change(fits: (value: T) => boolean, change: (value: T) => T): boolean;
  kept(): Kept<T>;
}

export function keeping<T>(max: number): Keeping<T> {
  const half = Math.floor(max / 2);
  const first: T[] = [];
  let last: T[] = [];
  let leftOut = 0;
  return {
    add(value) {
      if (first.length < half) return void first.push(value);
      last.push(value);
      if (last.length < 2 * half) return;
      // In one go: shifting each would cost the length of the list every time.
      leftOut += last.length - half;
      last = last.slice(-half);
    },
    change(fits, change) {
      for (const part of [last, first]) {
        const at = part.findLastIndex(fits);
        if (at < 0) continue;
        part[at] = change(part[at]!);
        return true;
      }
      return false;
    },
    kept: () => ({
      first,
      left_out: leftOut + Math.max(0, last.length - half),
      last: last.slice(-half),
    }),
  };
}
