import { randomUUID } from "node:crypto";
import { lstatSync } from "node:fs";
import { open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { systemClock, within } from "../../server/clock.ts";
import type { Config } from "../../server/config/config.ts";
import { ok, problem, warning, type Check } from "./check.ts";

/** A disk that has not taken a few bytes by then hangs. */
const diskMsMax = 10_000;
/** Below this the server refuses new Turns (compose.ts, reserveBytes). */
const reserveBytes = 64 * 1024 * 1024;
/** A few long incidents. */
const comfortBytes = 1024 * 1024 * 1024;

/** A true write, flush and read in the data directory, beside a running server and without its lock; and the space there. */
export async function* checkData({ dataDir, sessionsDir }: Config): AsyncGenerator<Check> {
  const there = lstatSync(dataDir, { throwIfNoEntry: false });
  if (there === undefined)
    return yield warning(
      "data",
      `${dataDir} is not there yet`,
      "The server makes it at its first start; run this again then.",
    );
  yield await within(systemClock, diskMsMax, writeThere(dataDir)).then(
    (check) =>
      check ??
      problem(
        "data",
        `${dataDir} did not take a small write within ${diskMsMax / 1_000} s`,
        "Its disk hangs: verbs work, nothing is recorded. See the kernel's log (dmesg).",
      ),
  );
  if ((there.mode & 0o077) !== 0)
    yield warning(
      "data",
      `${dataDir} is open to other accounts (mode ${(there.mode & 0o777).toString(8)})`,
      `Close it: chmod 700 ${dataDir}`,
    );
  for (const folder of new Set([
    dataDir,
    ...(lstatSync(sessionsDir, { throwIfNoEntry: false }) ? [sessionsDir] : []),
  ]))
    yield await checkSpace(folder);
}

async function writeThere(dataDir: string): Promise<Check> {
  const path = join(dataDir, `.doctor-${randomUUID()}`);
  const written = Buffer.from("Written by breakglass doctor, which removes it again.\n");
  try {
    const file = await open(path, "wx+", 0o600);
    try {
      await file.write(written, 0, written.length, 0);
      await file.sync();
      const read = Buffer.alloc(written.length);
      await file.read(read, 0, read.length, 0);
      if (!read.equals(written))
        return problem(
          "data",
          `${dataDir} gave back other bytes than were written`,
          "Trust nothing on this disk: put the data directory on another.",
        );
    } finally {
      await file.close();
      await rm(path, { force: true });
    }
    return ok("data", `${dataDir} takes a write, flushes it and gives it back`);
  } catch (error) {
    return problem(
      "data",
      `${dataDir} cannot be written (${(error as Error).message})`,
      "Give it to the account that runs the server, or make space. Verbs work; nothing is recorded.",
    );
  }
}

async function checkSpace(folder: string): Promise<Check> {
  const seen = await within(systemClock, diskMsMax, statfs(folder)).catch(() => null);
  if (seen === null) return warning("data", `the free space of ${folder} could not be asked`, "See `df`.");
  const free = seen.bavail * seen.bsize;
  const says = `${Math.floor(free / 1024 / 1024)} MiB are free at ${folder}`;
  if (free < reserveBytes)
    return problem("data", says, "New turns are refused below 64 MiB; verbs work. Make space.");
  return free < comfortBytes ? warning("data", says, "Make space before it is needed.") : ok("data", says);
}
