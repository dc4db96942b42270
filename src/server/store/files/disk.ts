import * as fs from "node:fs";

/** What the store asks of a file system: the seam where tests put a full, failing or hanging one. */
export interface Disk {
  open(path: string, flags: number, mode?: number): Promise<number>;
  /** Answers how many bytes were read or written, which may be fewer than asked for. */
  read(fd: number, buffer: Buffer, position: number): Promise<number>;
  write(fd: number, buffer: Buffer, position: number): Promise<number>;
  fdatasync(fd: number): Promise<void>;
  fsync(fd: number): Promise<void>;
  ftruncate(fd: number, length: number): Promise<void>;
  /** The length in bytes. */
  size(fd: number): Promise<number>;
  close(fd: number): Promise<void>;
  mkdir(path: string, mode: number): Promise<void>;
  readdir(path: string): Promise<fs.Dirent[]>;
  freeBytes(path: string): Promise<number>;
}

/** Raw descriptors and callbacks: a FileHandle costs more with every call. */
export const nodeDisk: Disk = {
  open: (path, flags, mode) => asked((done) => fs.open(path, flags, mode, done)),
  read: (fd, buffer, position) => asked((done) => fs.read(fd, buffer, 0, buffer.length, position, done)),
  write: (fd, buffer, position) => asked((done) => fs.write(fd, buffer, 0, buffer.length, position, done)),
  fdatasync: (fd) => asked((done) => fs.fdatasync(fd, (error) => done(error, undefined))),
  fsync: (fd) => asked((done) => fs.fsync(fd, (error) => done(error, undefined))),
  ftruncate: (fd, length) => asked((done) => fs.ftruncate(fd, length, (error) => done(error, undefined))),
  size: async (fd) => (await asked<fs.Stats>((done) => fs.fstat(fd, done))).size,
  close: (fd) => asked((done) => fs.close(fd, (error) => done(error ?? null, undefined))),
  mkdir: (path, mode) => asked((done) => fs.mkdir(path, mode, (error) => done(error, undefined))),
  readdir: (path) => asked((done) => fs.readdir(path, { withFileTypes: true }, done)),
  async freeBytes(path) {
    const { bavail, bsize } = await asked<fs.StatsFs>((done) => fs.statfs(path, done));
    return bavail * bsize;
  },
};

function asked<T>(ask: (done: (error: Error | null, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) =>
    ask((error, value) => (error === null ? resolve(value) : reject(error))),
  );
}

/**
 * An open file. A descriptor may only be closed when nothing uses it any more: its number is given to the next file
 * that is opened, and a late read would then read that one.
 */
export class Descriptor {
  readonly #disk: Disk;
  readonly #fd: number;
  #using = 0;
  #unflushed = false;
  #retired: (() => void) | undefined;

  constructor(disk: Disk, fd: number) {
    this.#disk = disk;
    this.#fd = fd;
  }

  /** Something was written that no flush has covered: whether it is on disk is not known. */
  get unflushed(): boolean {
    return this.#unflushed;
  }

  read(buffer: Buffer, position: number): Promise<number> {
    return this.#use(this.#disk.read(this.#fd, buffer, position));
  }

  size(): Promise<number> {
    return this.#use(this.#disk.size(this.#fd));
  }

  async fdatasync(): Promise<void> {
    await this.#use(this.#disk.fdatasync(this.#fd));
    this.#unflushed = false;
  }

  ftruncate(length: number): Promise<void> {
    return this.#use(this.#disk.ftruncate(this.#fd, length));
  }

  /** All of it, however often it takes: a full disk may take a part and refuse the rest. */
  writeAll(bytes: Buffer, position: number): Promise<void> {
    return this.#use(this.#writeAll(bytes, position));
  }

  /** Fills `buffer`; answers fewer bytes than it holds only at the end of the file. */
  readAll(buffer: Buffer, position: number): Promise<number> {
    return this.#use(this.#readAll(buffer, position));
  }

  /** Closes it once nothing uses it any more: with a hung flush, never. */
  async close(): Promise<void> {
    if (this.#using > 0) await new Promise<void>((resolve) => (this.#retired = resolve));
    await this.#disk.close(this.#fd);
  }

  async #writeAll(bytes: Buffer, position: number): Promise<void> {
    let written = 0;
    while (written < bytes.length) {
      const taken = await this.#disk.write(this.#fd, bytes.subarray(written), position + written);
      if (taken === 0) throw new Error("The disk took nothing and named no reason.");
      this.#unflushed = true;
      written += taken;
    }
  }

  async #readAll(buffer: Buffer, position: number): Promise<number> {
    let filled = 0;
    while (filled < buffer.length) {
      const got = await this.#disk.read(this.#fd, buffer.subarray(filled), position + filled);
      if (got === 0) break;
      filled += got;
    }
    return filled;
  }

  async #use<T>(work: Promise<T>): Promise<T> {
    this.#using++;
    try {
      return await work;
    } finally {
      if (--this.#using === 0) this.#retired?.();
    }
  }
}
