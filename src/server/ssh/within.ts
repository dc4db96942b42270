/** The promise's value, or null when `ms` milliseconds (null: no limit) have passed; what was begun goes on. */
export async function within<T>(ms: number | null, promise: Promise<T>): Promise<T | null> {
  if (ms === null) return promise;
  const { promise: passed, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), ms);
  return Promise.race([promise, passed]).finally(() => clearTimeout(timer));
}
