import { absentStore } from "./absent.ts";
import type { Store } from "./store.ts";

/**
 * A Store for the time before there is one: what is to be recorded is refused with `reason`, what is read waits. From
 * `open` on it is the real one.
 */
export function lateStore(reason: string): { readonly store: Store; open(real: Store): void } {
  const opened = Promise.withResolvers<Store>();
  let now: Store = {
    ...absentStore(reason),
    read: async (...asked) => (await opened.promise).read(...asked),
  };
  return {
    store: {
      append: (...asked) => now.append(...asked),
      head: (...asked) => now.head(...asked),
      readFrames: (...asked) => now.readFrames(...asked),
      read: (...asked) => now.read(...asked),
      watch: (...asked) => now.watch(...asked),
      list: (...asked) => now.list(...asked),
      freeBytes: () => now.freeBytes(),
      close: () => now.close(),
    },
    open(real) {
      now = real;
      opened.resolve(real);
    },
  };
}
