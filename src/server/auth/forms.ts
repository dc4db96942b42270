import type { Clock } from "../clock.ts";
import type { Actor } from "./auth.ts";
import type { Sealer } from "./seal.ts";

export interface Forms {
  mint(actor: Actor): string;
  matches(token: string, actor: Actor): boolean;
}

/** A page that was open for longer is reloaded before its form counts. */
const lifeMs = 12 * 3600 * 1000;

/** For text browsers, which send neither Origin nor Sec-Fetch-Site. A foreign page cannot read it out of ours. */
export function createForms({ clock, sealer }: { readonly clock: Clock; readonly sealer: Sealer }): Forms {
  const text = (expires: string, actor: Actor) =>
    JSON.stringify([expires, actor.via, actor.cookie?.id ?? actor.name]);
  return {
    mint(actor) {
      const expires = String(clock.now().getTime() + lifeMs);
      return `${expires}.${sealer.seal("form", text(expires, actor))}`;
    },
    matches(token, actor) {
      const parts = /^(\d{1,15})\.([A-Za-z0-9_-]{43})$/.exec(token);
      if (parts === null) return false;
      const [, expires, seal] = parts as unknown as [string, string, string];
      return sealer.matches("form", text(expires, actor), seal) && clock.now().getTime() < Number(expires);
    },
  };
}
