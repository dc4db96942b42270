import { StoreError, type Store } from "./store.ts";

/**
 * Stands in when the data directory cannot be used: nothing was ever stored, and nothing can be. Verbs and the page go
 * on; whatever wants to be recorded is refused with `reason`.
 */
export function absentStore(reason: string): Store {
  const refuse = () => Promise.reject(new StoreError("unwritable", reason));
  return {
    append: refuse,
    head: async () => -1,
    readFrames: async () => null,
    read: async () => [],
    watch: () => () => {},
    list: async () => [],
    freeBytes: refuse,
    close: async () => {},
  };
}
