/** So many at once, so many more waiting, in order. */
export class Slots {
  #free: number;
  readonly #waitingMax: number;
  readonly #waiting = new Set<(release: () => void) => void>();

  constructor(atOnce: number, waitingMax: number) {
    this.#free = atOnce;
    this.#waitingMax = waitingMax;
  }

  /** Answers the function that gives the slot back; null when the queue is full or `waitMs` passed (null: no limit). */
  take(waitMs: number | null): Promise<(() => void) | null> {
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve(this.#release());
    }
    if (this.#waiting.size >= this.#waitingMax) return Promise.resolve(null);
    return new Promise((resolve) => {
      const granted = (release: () => void) => {
        clearTimeout(timer);
        resolve(release);
      };
      this.#waiting.add(granted);
      const timer =
        waitMs === null
          ? undefined
          : setTimeout(() => {
              this.#waiting.delete(granted);
              resolve(null);
            }, waitMs);
    });
  }

  #release(): () => void {
    let given = true;
    return () => {
      if (!given) return;
      given = false;
      const [next] = this.#waiting;
      if (next === undefined) this.#free++;
      else {
        this.#waiting.delete(next);
        next(this.#release());
      }
    };
  }
}
