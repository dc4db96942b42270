import type { Clock } from "../clock.ts";
import type { Config, Scope } from "../config/config.ts";
import { createBearers } from "./bearers.ts";
import { createCookies, type CookieFacts } from "./cookies.ts";
import { createEdge } from "./edge.ts";
import { createForms } from "./forms.ts";
import { createLinks } from "./links.ts";
import { createOrigins } from "./origins.ts";
import { createSealer } from "./seal.ts";
import { createSecurityHeaders } from "./security-headers.ts";
import { createSlowing } from "./slowing.ts";
import { headerValues, type AuthRequest } from "./request.ts";

export interface AuthDeps {
  readonly clock: Clock;
  /** So many random bytes, from a cryptographic source. */
  readonly random: (bytes: number) => Buffer;
  /** At least 32 bytes, kept in the data directory: with a new one every cookie is void. */
  readonly secret: Buffer;
  readonly config: Pick<Config, "listen" | "publicUrl" | "auth">;
}

export interface Actor {
  readonly kind: "actor";
  readonly name: string;
  readonly scope: Scope;
  readonly via: "bearer" | "edge" | "cookie";
  /** Of `via: "cookie"`. */
  readonly cookie?: CookieFacts;
}

/** An answer that is ready to be sent: `{detail}` with this status and these headers beside the usual ones. */
interface Refused {
  readonly kind: "refused";
  readonly status: 400 | 401 | 403 | 429;
  readonly detail: string;
  readonly headers?: Readonly<Record<string, string>>;
}

type Identity = Actor | { readonly kind: "none"; readonly detail: string } | Refused;
type LoggedIn = { readonly kind: "in"; readonly name: string; readonly setCookie: string };

export interface Auth {
  /** Who asks. Says nothing about whether they may. */
  identify(request: AuthRequest): Identity;
  /** Who asks, if they may: identity, scope, and same origin for whatever is not GET or HEAD. */
  admit(request: AuthRequest, formToken?: string): Actor | Refused;
  /** For the forms of pages without script: stands in a hidden field, good for this actor for 12 hours. */
  formToken(actor: Actor): string;
  /** The secret part of a one-time link (`/#k=…`): good for 10 minutes, once. `name` is who it is for. */
  mintLink(name?: string): string;
  /** Trades a link's secret or a bearer token for a cookie. */
  login(request: AuthRequest, credential: string): LoggedIn | Refused;
  /** Voids the cookie of this request, if it has one, whatever its scope. `setCookie` removes it. */
  logout(request: AuthRequest): { readonly kind: "out"; readonly setCookie: string } | Refused;
  /** For every answer, errors too. */
  securityHeaders(path: string): Readonly<Record<string, string>>;
}

const howToGetIn =
  "Nobody is signed in, and nothing was done. Open a one-time link (`npm run link` prints one), or send a bearer token.";

export function createAuth({ clock, random, secret, config }: AuthDeps): Auth {
  const { tokens } = config.auth;
  const sealer = createSealer(secret);
  const bearers = createBearers(tokens);
  const edge = createEdge(config.auth);
  const cookies = createCookies({ clock, random, sealer, bearers, secure: isHttps(config.publicUrl) });
  const links = createLinks({ clock, random });
  const forms = createForms({ clock, sealer });
  const origins = createOrigins(config);
  const slowing = createSlowing({ clock });

  const wrongCredential = (request: AuthRequest, detail: string): Refused => {
    const seconds = slowing.failed(request.remoteAddress);
    if (seconds === null)
      return { kind: "refused", status: 401, detail, headers: { "WWW-Authenticate": "Bearer" } };
    return {
      kind: "refused",
      status: 429,
      detail: `${detail} There were many wrong ones from your address: wait ${seconds} s. The right one works at once.`,
      headers: { "Retry-After": String(seconds) },
    };
  };

  const identify = (request: AuthRequest): Identity => {
    const presented = bearers.presented(request);
    switch (presented.kind) {
      case "ambiguous":
        return refused(400, "There is more than one Authorization header: send one.");
      case "wrong":
        return wrongCredential(request, "The bearer token is not one of the configured ones.");
      case "right":
        return { kind: "actor", name: presented.token.name, scope: presented.token.scope, via: "bearer" };
      case "absent":
    }
    const named = edge(request);
    switch (named.kind) {
      case "refused":
        return refused(named.status, named.detail);
      case "wrong secret":
        return wrongCredential(request, named.detail);
      case "named":
        return { kind: "actor", name: named.name, scope: "operate", via: "edge" };
      case "absent":
    }
    const cookie = cookies.read(headerValues(request, "cookie"));
    if (cookie === undefined) return { kind: "none", detail: howToGetIn };
    return { kind: "actor", name: cookie.name, scope: cookie.scope, via: "cookie", cookie };
  };

  return {
    identify,

    admit(request, formToken) {
      // Nothing here is for other origins, so that there is nothing to ask for beforehand.
      if (request.method === "OPTIONS") return refused(403, "Requests from other origins are not allowed.");
      const identity = identify(request);
      if (identity.kind === "none") return refused(401, identity.detail, { "WWW-Authenticate": "Bearer" });
      if (identity.kind === "refused" || readsOnly(request)) return identity;
      if (identity.scope === "read")
        return refused(
          403,
          `${identity.name} may only look; nothing was done. Sign in with a token that may operate.`,
        );
      if (identity.via === "bearer") return identity;
      const origin = origins.judge(request);
      if (origin.kind === "same") return identity;
      if (origin.kind === "foreign") return refused(403, origin.detail);
      if (formToken !== undefined && forms.matches(formToken, identity)) return identity;
      const detail =
        "Nothing was done: the browser did not say where the request came from, and its form has no valid token. " +
        "Reload the page and try again; from a script send a bearer token.";
      return refused(403, detail);
    },

    formToken: (actor) => forms.mint(actor),
    mintLink: (name = "operator") => links.mint(name),

    login(request, credential) {
      // A client that sends neither Origin nor Sec-Fetch-Site is let through: the credential itself is the proof.
      const origin = origins.judge(request);
      if (origin.kind === "foreign") return refused(403, origin.detail);
      const linked = links.redeem(credential);
      if (linked !== undefined) return { kind: "in", name: linked, setCookie: cookies.forLink(linked) };
      const token = bearers.find(credential);
      if (token !== undefined) return { kind: "in", name: token.name, setCookie: cookies.forToken(token) };
      const detail =
        "That link or token is not valid: a link works once and for 10 minutes. `npm run link` prints a new one.";
      return wrongCredential(request, detail);
    },

    logout(request) {
      const origin = origins.judge(request);
      if (origin.kind === "foreign") return refused(403, origin.detail);
      const cookie = cookies.read(headerValues(request, "cookie"));
      if (cookie !== undefined) cookies.revoke(cookie);
      return { kind: "out", setCookie: cookies.removal };
    },

    securityHeaders: createSecurityHeaders({ https: isHttps(config.publicUrl) }),
  };
}

function refused(status: Refused["status"], detail: string, headers?: Refused["headers"]): Refused {
  return { kind: "refused", status, detail, ...(headers && { headers }) };
}

function readsOnly({ method }: AuthRequest): boolean {
  return method === "GET" || method === "HEAD";
}

function isHttps(publicUrl: string | null): boolean {
  return publicUrl?.startsWith("https:") ?? false;
}
