import { existsSync } from "node:fs";

/** Threads and processes of one cage (of one account, where there is no cage); one more fails with EAGAIN. */
const processesMax = 1_024;
/** Of one file; who writes more gets SIGXFSZ, or "file too large". */
const fileBytesMax = 2 * 1024 * 1024 * 1024;
/** util-linux. */
const prlimit = "/usr/bin/prlimit";

/**
 * Words before a command that bound it and all that it starts (setrlimit(2)). Memory is not among them: what node and the
 * agent reserve and never use counts for RLIMIT_AS and RLIMIT_DATA. Nor does root's own count of processes count.
 */
export const bounded: readonly string[] = existsSync(prlimit)
  ? [prlimit, "--core=0", `--nproc=${processesMax}`, `--fsize=${fileBytesMax}`, "--"]
  : [];
