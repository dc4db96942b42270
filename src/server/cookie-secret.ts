import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { keepSecret, secretBytes } from "./auth/secret.ts";

/** A copy in memory serves while the data directory (null) hangs: then nobody is signed out by a disk. */
export function cookieSecret(
  dataDir: string | null,
  kept: string | null,
  log: { warn(text: string): void },
): Buffer {
  const keepIn = (folder: string) =>
    keepSecret({ dataDir: folder, random: randomBytes, onTrouble: (sentence) => log.warn(sentence) });
  if (dataDir === null) return kept === null ? randomBytes(secretBytes) : keepIn(kept);
  const secret = keepIn(dataDir);
  if (kept !== null) writeFileSync(join(kept, "cookie-secret"), secret, { mode: 0o600 });
  return secret;
}
