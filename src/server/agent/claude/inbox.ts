/** What is put in comes out, in order, for one reader; `end` ends it. Bounded by its user: one prompt a Turn. */
export interface Inbox<T> extends AsyncIterable<T> {
  put(item: T): void;
  end(): void;
}

export function inbox<T>(): Inbox<T> {
  const waiting: T[] = [];
  let ended = false;
  let wake = () => {};
  return {
    put(item) {
      waiting.push(item);
      wake();
    },
    end() {
      ended = true;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const item = waiting.shift();
        if (item !== undefined) yield item;
        else if (ended) return;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}
