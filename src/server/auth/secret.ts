import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const secretBytes = 32;

/**
 * The secret that cookies are sealed with, kept in the data directory so that a restart signs nobody out. Where it cannot
 * be kept it holds until the server ends, and `onTrouble` gets a sentence.
 */
export function keepSecret(deps: {
  readonly dataDir: string;
  readonly random: (bytes: number) => Buffer;
  readonly onTrouble: (sentence: string) => void;
}): Buffer {
  const path = join(deps.dataDir, "cookie-secret");
  try {
    const kept = readFileSync(path);
    if (kept.length === secretBytes) return kept;
    deps.onTrouble(
      `${path} does not hold ${secretBytes} bytes, so that a new secret was made and all cookies are void.`,
    );
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") deps.onTrouble(`${path} cannot be read (${message}): cookies of before are void.`);
  }
  const secret = deps.random(secretBytes);
  try {
    writeFileSync(path, secret, { mode: 0o600 });
  } catch (error) {
    deps.onTrouble(`${path} cannot be written (${(error as Error).message}): cookies end with this server.`);
  }
  return secret;
}
