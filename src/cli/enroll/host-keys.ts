import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fingerprintOf, scanHostKeys, type HostKey } from "../../server/ssh/host-key.ts";
import { pinHostKey } from "../../server/ssh/known-hosts.ts";
import { keysOf, knownName } from "../../server/ssh/known-lines.ts";
import { agreed, say } from "./terminal.ts";

export interface Machine {
  /** What it is called to the Operator: "the guest at 10.0.0.5". */
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/**
 * Sees to it that the machine's host key is known: shows what it shows, and pins it after a yes, or when its fingerprint is
 * one of those that the Operator has named. `--yes` is none: it means "install", and not "trust whoever answers".
 */
export async function knowHostKey(deps: {
  readonly machine: Machine;
  readonly dataDir: string;
  readonly path: string;
  readonly named: readonly string[];
}): Promise<void> {
  const { machine, dataDir, path, named } = deps;
  const shown = await scanHostKeys({ host: machine.host, port: machine.port, path });
  if (shown.length === 0) {
    return say(`  ${machine.name} shows no host key. Is it on, and is sshd there? Nothing was pinned.`);
  }
  const file = join(dataDir, "known_hosts");
  const authority = authorityFor(file, knownName(machine));
  if (authority)
    return say(`  ${machine.name}: a certificate authority stands for it (@cert-authority in ${file}).`);
  const known = existsSync(file) ? keysOf(readFileSync(file, "utf8"), knownName(machine)) : [];
  const same = shown.find(({ blob }) => known.some((key) => key.blob === blob));
  if (same !== undefined) return say(`  ${machine.name}: ${fingerprintOf(same)} is pinned, and shown.`);

  for (const key of known) say(`  ${machine.name}: pinned was  ${fingerprintOf(key)}`);
  for (const key of shown) say(`  ${machine.name}: it shows    ${fingerprintOf(key)} (${key.type})`);
  if (known.length > 0) say("  It has CHANGED: the machine was rebuilt, or somebody stands in between.");
  const chosen = await choose(shown, named);
  if (chosen === null) return say("  Not pinned. Run this again when you have compared it.");
  await pinHostKey({ dir: dataDir, host: machine.host, port: machine.port, key: chosen });
  say(`  ${fingerprintOf(chosen)} is pinned in ${file}.`);
}

async function choose(shown: readonly HostKey[], named: readonly string[]): Promise<HostKey | null> {
  const match = shown.find((key) => named.includes(fingerprintOf(key)));
  if (match !== undefined) return match;
  if (named.length > 0) {
    say("  None of these was named with --host-key.");
    return null;
  }
  say("  Compare it on that machine's own console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
  return (await agreed("  Is it the same?")) ? shown[0]! : null;
}

/** ssh-keygen -F knows patterns and hashed names. */
function authorityFor(file: string, name: string): boolean {
  if (!existsSync(file)) return false;
  try {
    return execFileSync("ssh-keygen", ["-F", name, "-f", file], { encoding: "utf8" }).includes(
      "@cert-authority ",
    );
  } catch {
    // It ends with 1 when it has found nothing.
    return false;
  }
}
