import { createHash, timingSafeEqual } from "node:crypto";
import type { TokenConfig } from "../config/config.ts";
import { headerValues, type AuthRequest } from "./request.ts";

export interface Bearers {
  /** The configured token that this is. All are compared, in constant time. */
  find(token: string): TokenConfig | undefined;
  presented(request: AuthRequest): Presented;
  readonly all: readonly TokenConfig[];
}

type Presented =
  | { readonly kind: "absent" }
  | { readonly kind: "ambiguous" }
  | { readonly kind: "wrong" }
  | { readonly kind: "right"; readonly token: TokenConfig };

export function createBearers(tokens: readonly TokenConfig[]): Bearers {
  const known = tokens.map((token) => ({ token, hash: Buffer.from(token.sha256, "hex") }));
  const find = (presented: string) => {
    const hash = createHash("sha256").update(presented).digest();
    let found: TokenConfig | undefined;
    for (const candidate of known) if (timingSafeEqual(candidate.hash, hash)) found = candidate.token;
    return found;
  };
  return {
    all: tokens,
    find,
    presented(request) {
      const values = headerValues(request, "authorization");
      if (values.length > 1) return { kind: "ambiguous" };
      const bearer = /^bearer(?:[ \t]+(.*))?$/is.exec(values[0] ?? "");
      // Other schemes are a proxy's own business (Basic at the edge), and no identity here.
      if (bearer === null) return { kind: "absent" };
      const token = find(bearer[1] ?? "");
      return token === undefined ? { kind: "wrong" } : { kind: "right", token };
    },
  };
}
