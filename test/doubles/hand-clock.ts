import type { Clock } from "../../src/server/clock.ts";

/** Time that passes only when the test says so. */
export interface HandClock extends Clock {
  advance(ms: number): void;
  /** Milliseconds until the next callback is due; undefined: none is. */
  next(): number | undefined;
}

export function handClock(): HandClock {
  let now = 0;
  const due = new Set<{ readonly at: number; readonly callback: () => void }>();
  return {
    now: () => new Date(now),
    after(ms, callback) {
      const timer = { at: now + ms, callback };
      due.add(timer);
      return () => void due.delete(timer);
    },
    next: () => (due.size === 0 ? undefined : Math.min(...[...due].map(({ at }) => at)) - now),
    advance(ms) {
      const until = now + ms;
      for (;;) {
        const [next] = [...due].filter((timer) => timer.at <= until).toSorted((a, b) => a.at - b.at);
        if (next === undefined) break;
        due.delete(next);
        now = next.at;
        next.callback();
      }
      now = until;
    },
  };
}
