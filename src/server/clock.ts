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

/** The promise's value, or null when `ms` milliseconds have passed; what was begun goes on. */
export async function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | null> {
  const { promise: passed, resolve } = Promise.withResolvers<null>();
  const callOff = clock.after(ms, () => resolve(null));
  return Promise.race([promise, passed]).finally(callOff);
}
