/** One file of the guest: what it says (`text`), or only how large it is. */
export interface FileNode {
  readonly size: number;
  readonly text?: string;
  readonly at: Date;
  readonly owner: string;
  readonly group: string;
  /** As in `ls -l`, for example "-rw-r-----". */
  readonly mode: string;
}

/** The runaway log: its writer opens it anew for each line, so that removing it really frees the space. */
interface GrowingLog {
  readonly path: string;
  bytes: number;
  /** Since when it grows from `bytes`; null while its writer is down. */
  since: number | null;
}

/** 20 GiB as ext4 shows them, in bytes; the last twentieth is root's. */
const capacity = 20_466_256 * 1024;
const reserved = 1_048_576 * 1024;
/** A debug log's: 20 GB in some fifteen hours. */
const growthPerSecond = 350_000;
const block = 4096;
/** Files that somebody may make here; beyond it a write fails as on a disk without inodes. */
const filesMax = 2_000;
const foldersMax = 1_000;

/** The guest's root file system: names, sizes and a few texts, so that df, du and ls agree. */
export class Disk {
  readonly files: Map<string, FileNode>;
  readonly folders = new Set<string>([
    "/",
    "/tmp",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/mnt",
    "/srv",
    "/opt",
    "/root",
    "/home/observe",
  ]);
  readonly #log: GrowingLog;

  constructor(files: ReadonlyMap<string, FileNode>, logPath: string) {
    this.files = new Map(files);
    for (const path of [...files.keys(), logPath]) this.#addFolders(path);
    this.#log = { path: logPath, bytes: 0, since: null };
  }

  /** The log has taken all there is. */
  fill(now: Date): void {
    this.#log.bytes = capacity;
    this.#log.since = now.getTime();
    this.#settle(now);
  }

  /** The log's writer came up or went down. */
  setWriter(running: boolean, now: Date): void {
    this.#log.bytes = this.#logBytes(now);
    this.#log.since = running ? now.getTime() : null;
  }

  stat(path: string, now: Date): FileNode | undefined {
    if (path !== this.#log.path) return this.files.get(path);
    const size = this.#logBytes(now);
    return { size, text: debugLines(size, now), at: now, owner: "orders", group: "adm", mode: "-rw-r-----" };
  }

  isFolder(path: string): boolean {
    return this.folders.has(path);
  }

  /** Full paths of what lies directly in a folder, by name. */
  list(path: string): string[] {
    const prefix = path === "/" ? "/" : `${path}/`;
    const inside = [...this.files.keys(), this.#log.path, ...this.folders].filter(
      (name) => name !== "/" && name.startsWith(prefix) && !name.slice(prefix.length).includes("/"),
    );
    return inside.toSorted();
  }

  /** Answers why not, in the kernel's words. */
  write(path: string, text: string, by: string, now: Date): string | undefined {
    this.#settle(now);
    if (this.isFolder(path)) return "Is a directory";
    if (!this.isFolder(parentOf(path))) return "No such file or directory";
    if (path === this.#log.path) {
      this.#log.bytes = Buffer.byteLength(text);
      if (this.#log.since !== null) this.#log.since = now.getTime();
      return undefined;
    }
    const before = this.files.get(path);
    const size = Buffer.byteLength(text);
    if (this.#room(by, now) < size - (before?.size ?? 0)) return "No space left on device";
    if (before === undefined && this.files.size >= filesMax) return "No space left on device";
    this.files.set(path, {
      owner: by,
      group: by,
      mode: "-rw-r--r--",
      ...before,
      size,
      text,
      at: now,
    });
    return undefined;
  }

  remove(path: string, now: Date): void {
    this.#settle(now);
    if (path === this.#log.path) this.write(path, "", "root", now);
    else this.files.delete(path);
  }

  removeFolder(path: string): void {
    this.folders.delete(path);
  }

  /** With those that it lies in. Answers why not. */
  makeFolders(path: string): string | undefined {
    if (this.folders.size >= foldersMax) return "No space left on device";
    for (let folder = path; folder !== "/"; folder = parentOf(folder)) {
      if (this.files.has(folder) || folder === this.#log.path) return "Not a directory";
      this.folders.add(folder);
    }
    return undefined;
  }

  chmod(path: string, change: (mode: string) => string): void {
    const file = this.files.get(path);
    if (file !== undefined) this.files.set(path, { ...file, mode: change(file.mode) });
  }

  /** Sizes of files, without the rest of it, as `truncate` changes them. */
  resize(path: string, size: number, now: Date): string | undefined {
    if (size === 0 || path === this.#log.path) return this.write(path, "", "root", now);
    this.#settle(now);
    const before = this.files.get(path);
    if (before === undefined) return this.write(path, "", "root", now);
    if (this.#room("root", now) < size - before.size) return "No space left on device";
    const { text: _, ...rest } = before;
    this.files.set(path, { ...rest, size, at: now });
    return undefined;
  }

  /** Bytes on the disk of everything under a path, folders included. */
  usage(path: string, now: Date): number {
    const file = this.stat(path, now);
    if (file !== undefined) return blocks(file.size);
    let sum = 0;
    const prefix = path === "/" ? "/" : `${path}/`;
    for (const [name, { size }] of this.files) if (name.startsWith(prefix)) sum += blocks(size);
    for (const name of this.folders) if (name === path || name.startsWith(prefix)) sum += block;
    return this.#log.path.startsWith(prefix) ? sum + blocks(this.#logBytes(now)) : sum;
  }

  get size(): number {
    return capacity;
  }

  used(now: Date): number {
    return this.usage("/", now);
  }

  /** For everybody but root. */
  available(now: Date): number {
    return Math.max(0, capacity - reserved - this.used(now));
  }

  /** Root may use what is kept back from everybody else. */
  #room(by: string, now: Date): number {
    return by === "root" ? Math.max(0, capacity - this.used(now)) : this.available(now);
  }

  /** A full disk has kept the log from growing: what is freed now was not its own. */
  #settle(now: Date): void {
    this.#log.bytes = this.#logBytes(now);
    if (this.#log.since !== null) this.#log.since = now.getTime();
  }

  #logBytes(now: Date): number {
    let others = 0;
    for (const { size } of this.files.values()) others += blocks(size);
    const room = Math.max(0, capacity - reserved - others - this.folders.size * block);
    const grown = this.#log.since === null ? 0 : ((now.getTime() - this.#log.since) / 1000) * growthPerSecond;
    return Math.min(Math.floor(this.#log.bytes + grown), room);
  }

  #addFolders(path: string): void {
    for (let folder = parentOf(path); folder !== "/"; folder = parentOf(folder)) this.folders.add(folder);
  }
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

const blocks = (size: number) => Math.ceil(size / block) * block;

/** The last lines of the debug log; nobody reads the rest of its gigabytes here. */
function debugLines(size: number, now: Date): string {
  const lines = Math.min(200, Math.floor(size / 180));
  return Array.from({ length: lines }, (_, n) => {
    const at = new Date(now.getTime() - (lines - n) * 37).toISOString();
    return `${at} DEBUG orders-api[2391] http.pool: socket reuse id=${4096 + n} idle=37ms headers={"accept":"*/*"} body=<64 bytes> retry=0\n`;
  }).join("");
}
