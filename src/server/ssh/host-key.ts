import { createHash } from "node:crypto";
import { run } from "../process/run.ts";

/** A machine's public host key, as in a line of known_hosts. */
export interface HostKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, … */
  readonly type: string;
  /** Base64. */
  readonly blob: string;
}

/** As ssh asks for them; a fingerprint that a person reads is mostly that of the first. */
const types = ["ed25519", "ecdsa", "rsa"];
/** For each connection of ssh-keyscan: it makes one for each type. */
const answerSecondsMax = 5;
/** For the whole scan, should ssh-keyscan itself hang. */
const scanMsMax = (answerSecondsMax + 5) * 1_000;

/** `SHA256:…`, as ssh and ssh-keygen -l write it. */
export function fingerprintOf({ blob }: HostKey): string {
  return `SHA256:${createHash("sha256").update(Buffer.from(blob, "base64")).digest("base64").replace(/=+$/, "")}`;
}

/** The first key in a line of known_hosts, of ssh-keyscan, or of a public key's file; null when there is none. */
export function hostKeyIn(line: string): HostKey | null {
  const words = line.trim().split(/\s+/);
  const at = words.findIndex((word) => /^(ssh-|ecdsa-|sk-)/.test(word));
  const [type, blob] = words.slice(at, at + 2);
  return at < 0 || type === undefined || blob === undefined ? null : { type, blob };
}

/**
 * The keys that the machine shows now, ed25519 first; none when it does not answer. By ssh-keyscan, since that asks for every
 * type and presents no account and no key of ours to a machine that is not trusted yet.
 */
export async function scanHostKeys(at: {
  readonly host: string;
  readonly port: number;
  /** Where ssh-keyscan is looked for. */
  readonly path: string;
}): Promise<readonly HostKey[]> {
  const args = ["-T", String(answerSecondsMax), "-p", String(at.port), "-t", types.join(","), "--", at.host];
  const { stdout } = await run(
    { file: "ssh-keyscan", args, env: { PATH: at.path, LC_ALL: "C" } },
    { outputBytesMax: 16_384, deadlineMs: scanMsMax },
  );
  const rank = ({ type }: HostKey) => types.findIndex((each) => type.includes(each));
  return stdout
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .flatMap((line) => hostKeyIn(line) ?? [])
    .toSorted((a, b) => rank(a) - rank(b));
}
