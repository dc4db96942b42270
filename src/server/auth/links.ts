import { createHash } from "node:crypto";
import type { Clock } from "../clock.ts";

export interface Links {
  mint(name: string): string;
  /** The name that it was minted for, once; undefined when it is unknown, used or too old. */
  redeem(secret: string): string | undefined;
}

const lifeMs = 10 * 60 * 1000;
/** Beyond so many at once the oldest is void: links are made by hand. */
const linksMax = 32;

/** Kept in memory, by their hash: a restart voids them. */
export function createLinks({
  clock,
  random,
}: {
  readonly clock: Clock;
  readonly random: (bytes: number) => Buffer;
}): Links {
  const open = new Map<string, { readonly name: string; readonly expires: number }>();
  return {
    mint(name) {
      const secret = random(32).toString("base64url");
      open.set(hashOf(secret), { name, expires: clock.now().getTime() + lifeMs });
      if (open.size > linksMax) open.delete(open.keys().next().value!);
      return secret;
    },
    redeem(secret) {
      // Looked up by hash: how long that takes says nothing about the secret.
      const hash = hashOf(secret);
      const link = open.get(hash);
      open.delete(hash);
      return link !== undefined && clock.now().getTime() < link.expires ? link.name : undefined;
    },
  };
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
