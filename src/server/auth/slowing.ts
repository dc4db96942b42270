import { isIPv6 } from "node:net";
import type { Clock } from "../clock.ts";
import { plainAddress } from "../config/ranges.ts";

export interface Slowing {
  /** Notes a wrong credential; answers the seconds to wait before the next one, null for the first few. */
  failed(remoteAddress: string | undefined): number | null;
}

/** A person mistypes so often. */
const freeFailures = 5;
/** The wait doubles from 1 s up to this. */
const waitSecondsMax = 300;
/** A source that was quiet for so long begins anew. */
const forgottenAfterMs = 15 * 60 * 1000;
/** Beyond so many sources the one that failed longest ago is forgotten. */
const sourcesMax = 1024;

/**
 * Wrong credentials become 429 with a growing Retry-After. A right one is never kept waiting, whatever failed before: behind a
 * proxy everybody has one address, and whoever is locked out of the rescue by a stranger's guesses is not rescued. So this
 * stops no determined guesser; the length of the credentials does.
 */
export function createSlowing({ clock }: { readonly clock: Clock }): Slowing {
  const sources = new Map<string, { readonly failures: number; readonly at: number }>();
  return {
    failed(remoteAddress) {
      const now = clock.now().getTime();
      const source = sourceOf(remoteAddress);
      const before = sources.get(source);
      const failures = before === undefined || now - before.at > forgottenAfterMs ? 1 : before.failures + 1;
      sources.delete(source);
      sources.set(source, { failures, at: now });
      if (sources.size > sourcesMax) sources.delete(sources.keys().next().value!);
      if (failures <= freeFailures) return null;
      return Math.min(2 ** (failures - freeFailures - 1), waitSecondsMax);
    },
  };
}

/** One customer has a whole /64 of IPv6 (RFC 6177): its first four groups are the source. */
function sourceOf(remoteAddress: string | undefined): string {
  if (remoteAddress === undefined) return "unknown";
  const plain = plainAddress(remoteAddress);
  if (!isIPv6(plain)) return plain;
  const [head = "", tail] = new URL(`http://[${plain}]/`).hostname.slice(1, -1).split("::");
  const groups = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: 8 - groups.length - after.length }, () => "0");
  return [...groups, ...zeros, ...after].slice(0, 4).join(":");
}
