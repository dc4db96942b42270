import { StoreError } from "../store.ts";

/** "unwritable", in words: what was asked, what the system answered, what to do. */
export function unwritable(what: string, cause: unknown): StoreError {
  return new StoreError("unwritable", `${what}: ${mendOf(cause)}`, { cause });
}

export function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : String(error);
}

/** The system's answer and the next step for the person who runs the machine. */
export function mendOf(error: unknown): string {
  const code = codeOf(error);
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return `no space is left (${code}). Free some space or enlarge the volume; it goes on by itself then.`;
    case "EROFS":
      return `the file system is read-only (${code}). Mount it writable, or look in the kernel log for why it became read-only.`;
    case "EACCES":
    case "EPERM":
      return `the server's account may not write there (${code}). Give it the directory (chown, mode 0700).`;
    case "ENOTDIR":
    case "EEXIST":
      return `something in the path is a file, not a directory (${code}). Move it away or set BREAKGLASS_DATA_DIR to a directory.`;
    case "ENOENT":
      return `the directory is gone (${code}). Mount or restore it, then start the server again.`;
    case "EMFILE":
    case "ENFILE":
      return `too many files are open (${code}). Raise the limit of open files (ulimit -n).`;
    default:
      return `the system answered ${code}. Look at the disk and the kernel log.`;
  }
}
