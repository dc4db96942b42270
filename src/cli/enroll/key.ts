import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

/** Makes the key pair unless it is there. True: made now. Without a passphrase, since nobody is there to type it. */
export function makeKey(path: string, target: string): boolean {
  if (existsSync(path)) return false;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const args = ["-q", "-t", "ed25519", "-N", "", "-C", `breakglass-${target}`, "-f", path];
  execFileSync("ssh-keygen", args, { stdio: ["ignore", "inherit", "inherit"] });
  return true;
}
