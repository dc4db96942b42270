/** Time, so that tests can hold it in their hands. */
export interface Clock {
  now(): Date;
  /** Calls back once after `ms` milliseconds; answers the function that calls it off. Never keeps the process alive. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => new Date(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
