import { createHmac } from "node:crypto";
import { hostKeyIn, type HostKey } from "./host-key.ts";

/** What ssh looks a machine up by (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). */
export function knownName({ host, port }: { readonly host: string; readonly port: number }): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/** The keys that stand for exactly this name, hashed or not. Lines with a marker or a pattern are not asked. */
export function keysOf(text: string, name: string): readonly HostKey[] {
  const lines = text.split("\n").filter((line) => namesIn(line).some((word) => isName(word, name)));
  return lines.flatMap((line) => hostKeyIn(line) ?? []);
}

/**
 * The text with this key as the only one for the name. Of a line that names others too they stay, and so do patterns,
 * comments, `@cert-authority` and `@revoked`: those are a person's own words about more than this machine.
 */
export function withKey(text: string, name: string, { type, blob }: HostKey): string {
  const kept = text.split("\n").flatMap((line) => {
    const names = namesIn(line);
    const others = names.filter((word) => !isName(word, name));
    if (others.length === names.length) return [line];
    return others.length === 0 ? [] : [line.replace(/\S+/, others.join(","))];
  });
  return withLines(kept.join("\n"), [`${name} ${type} ${blob}`]);
}

/** The text, and after it those of the lines whose names it does not know: what stands there already counts. */
export function withLearned(text: string, lines: readonly string[]): string {
  const isNew = (line: string) => {
    const names = namesIn(line);
    return names.length > 0 && names.every((name) => keysOf(text, name).length === 0);
  };
  return withLines(text, lines.filter(isNew));
}

function withLines(text: string, lines: readonly string[]): string {
  const head = text === "" || text.endsWith("\n") ? text : `${text}\n`;
  return head + lines.map((line) => `${line}\n`).join("");
}

function namesIn(line: string): readonly string[] {
  const [first = ""] = line.trim().split(/\s+/);
  return /^[@#]|^$/.test(first) ? [] : first.split(",");
}

/** `|1|salt|hash` is what HashKnownHosts makes of a name. */
function isName(word: string, name: string): boolean {
  const [, salt, hash] = /^\|1\|([^|]+)\|([^|]+)$/.exec(word) ?? [];
  if (salt === undefined) return word === name;
  return createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest("base64") === hash;
}
