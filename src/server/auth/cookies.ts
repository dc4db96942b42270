import type { Clock } from "../clock.ts";
import type { Scope, TokenConfig } from "../config/config.ts";
import type { Bearers } from "./bearers.ts";
import type { Sealer } from "./seal.ts";

/** A cookie as it was sealed. Times in milliseconds since 1970. */
export interface CookieFacts {
  readonly id: string;
  readonly name: string;
  readonly scope: Scope;
  readonly issued: number;
  readonly expires: number;
}

export interface Cookies {
  /** The Set-Cookie of a new one. */
  forLink(name: string): string;
  forToken(token: TokenConfig): string;
  /** The first valid one of a request's Cookie headers. */
  read(headers: readonly string[]): CookieFacts | undefined;
  /** Until it expires or the server restarts: what is revoked is kept in memory only. */
  revoke(cookie: CookieFacts): void;
  /** The Set-Cookie that makes a browser forget it. */
  readonly removal: string;
}

/** Afterwards a new link or token is needed. */
const lifeSeconds = 30 * 24 * 3600;
/** Beyond so many the oldest revocation is forgotten, and with it every cookie that is not younger is void. */
const revokedMax = 1000;

/** Stateless: a cookie says who, sealed, so that it outlives a restart and costs no memory. */
export function createCookies(deps: {
  readonly clock: Clock;
  readonly random: (bytes: number) => Buffer;
  readonly sealer: Sealer;
  readonly bearers: Bearers;
  readonly secure: boolean;
}): Cookies {
  const { clock, random, sealer, bearers, secure } = deps;
  // The prefix keeps other hosts of the domain from planting one (RFC 6265bis, 4.1.3); it demands Secure.
  const cookieName = secure ? "__Host-breakglass" : "breakglass";
  const attributes = `Path=/; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`;
  const revoked = new Map<string, CookieFacts>();
  let voidUntil = 0;

  const issue = (name: string, from: string) => {
    const issued = clock.now().getTime();
    const claims: Claims = {
      id: random(16).toString("base64url"),
      name,
      from,
      issued,
      expires: issued + lifeSeconds * 1000,
    };
    const payload = Buffer.from(JSON.stringify(claims)).toString("base64url");
    return `${cookieName}=${payload}.${sealer.seal("cookie", payload)}; ${attributes}; Max-Age=${lifeSeconds}`;
  };
  // A cookie that was traded for a token lives no longer than the token is configured, and has its scope.
  const sourceOf = (token: TokenConfig) => sealer.seal("token", token.sha256);
  const scopeOf = (from: string) =>
    from === fromLink ? "operate" : bearers.all.find((token) => sourceOf(token) === from)?.scope;

  const open = (value: string): CookieFacts | undefined => {
    const [payload, seal, ...rest] = value.split(".");
    if (payload === undefined || seal === undefined || rest.length > 0) return undefined;
    if (!sealer.matches("cookie", payload, seal)) return undefined;
    const { from, ...facts } = JSON.parse(Buffer.from(payload, "base64url").toString()) as Claims;
    const scope = scopeOf(from);
    if (scope === undefined || facts.expires <= clock.now().getTime()) return undefined;
    if (facts.issued <= voidUntil || revoked.has(facts.id)) return undefined;
    return { ...facts, scope };
  };

  return {
    forLink: (name) => issue(name, fromLink),
    forToken: (token) => issue(token.name, sourceOf(token)),
    read(headers) {
      for (const value of valuesOf(cookieName, headers)) {
        const cookie = open(value);
        if (cookie !== undefined) return cookie;
      }
      return undefined;
    },
    revoke(cookie) {
      const now = clock.now().getTime();
      for (const [id, { expires }] of revoked) if (expires <= now) revoked.delete(id);
      revoked.set(cookie.id, cookie);
      if (revoked.size <= revokedMax) return;
      const [oldest] = [...revoked.values()].toSorted((a, b) => a.issued - b.issued);
      revoked.delete(oldest!.id);
      voidUntil = oldest!.issued;
    },
    removal: `${cookieName}=; ${attributes}; Max-Age=0`,
  };
}

interface Claims {
  readonly id: string;
  readonly name: string;
  /** "link", or the sealed hash of the token that it was traded for. */
  readonly from: string;
  readonly issued: number;
  readonly expires: number;
}
const fromLink = "link";

/** `a=1; b=2` (RFC 6265, 4.2.1); a name may come more than once, where another path or host planted one. */
function valuesOf(name: string, headers: readonly string[]): readonly string[] {
  return headers
    .flatMap((header) => header.split(";"))
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
}
