import { nodeDisk, type Disk } from "../../src/server/store/files/disk.ts";

/** A disk whose calls pass through `before`: it may wait, fail, or let them go. `path` is that of the descriptor. */
export function watchedDisk(
  before: (call: keyof Disk, path: string) => Promise<void> | undefined,
  disk: Disk = nodeDisk,
): Disk {
  const paths = new Map<number, string>();
  const named = <A extends readonly unknown[], T>(
    call: keyof Disk,
    work: (fd: number, ...rest: A) => Promise<T>,
  ) => {
    return async (fd: number, ...rest: A): Promise<T> => {
      await before(call, paths.get(fd)!);
      return work(fd, ...rest);
    };
  };
  return {
    ...disk,
    async open(path, flags, mode) {
      await before("open", path);
      const fd = await disk.open(path, flags, mode);
      paths.set(fd, path);
      return fd;
    },
    read: named("read", disk.read),
    write: named("write", disk.write),
    fdatasync: named("fdatasync", disk.fdatasync),
    fsync: named("fsync", disk.fsync),
    ftruncate: named("ftruncate", disk.ftruncate),
    size: named("size", disk.size),
    close: named("close", disk.close),
  };
}

export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

/** A promise in the test's hand. */
export function held(): {
  readonly promise: Promise<void>;
  release: () => void;
  fail: (error: Error) => void;
} {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { promise, release: resolve, fail: reject };
}
