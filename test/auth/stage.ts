import { createHash } from "node:crypto";
import { createAuth, type Auth, type AuthDeps } from "../../src/server/auth/auth.ts";
import type { AuthRequest } from "../../src/server/auth/request.ts";
import type { AuthConfig, TokenConfig } from "../../src/server/config/config.ts";
import { parseRange } from "../../src/server/config/ranges.ts";

const secret = Buffer.alloc(32, 7);
export const publicUrl = "https://rescue.example.org";
export const proxySecret = "a proxy's secret of some length".replaceAll(" ", "-");

/** Time that stands still until it is told to go on. */
export class HeldClock {
  ms = Date.UTC(2026, 0, 1);
  now = () => new Date(this.ms);
  after = () => () => {};
  pass(seconds: number): void {
    this.ms += seconds * 1000;
  }
}

export function tokenConfig(
  name: string,
  token: string,
  scope: TokenConfig["scope"] = "operate",
): TokenConfig {
  return { name, scope, sha256: createHash("sha256").update(token).digest("hex") };
}

export interface Stage {
  readonly auth: Auth;
  readonly clock: HeldClock;
}

export function stage(
  changes: Partial<AuthDeps["config"]> & {
    readonly credentials?: Partial<AuthConfig>;
    readonly clock?: HeldClock;
  } = {},
): Stage {
  const { credentials, clock = new HeldClock(), ...config } = changes;
  let made = clock.ms % 251;
  const auth = createAuth({
    clock,
    secret,
    random: (bytes) => createHash("sha512").update(String(made++)).digest().subarray(0, bytes),
    config: {
      listen: { host: "127.0.0.1", port: 8080 },
      publicUrl: null,
      auth: {
        tokens: [],
        trustedProxies: [],
        proxySecret: null,
        edgeHeader: "X-authentik-username",
        ...credentials,
      },
      ...config,
    },
  });
  return { auth, clock };
}

export const ranges = (...texts: string[]) => texts.map((text) => parseRange(text)!);

type Headers = Readonly<Record<string, string | readonly string[]>>;

export function request(
  method: string,
  headers: Headers = {},
  remoteAddress: string | undefined = "192.0.2.66",
): AuthRequest {
  const rawHeaders = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().flatMap((value) => [name, value]),
  );
  return { method, rawHeaders, remoteAddress };
}

/** As a browser would send back what it was given. */
export function cookieOf(setCookie: string): string {
  return setCookie.split(";")[0]!;
}

/** A browser that has followed a one-time link. */
export function signedIn(auth: Auth, name?: string): string {
  const answer = auth.login(request("POST"), auth.mintLink(name));
  if (answer.kind !== "in") throw new Error(answer.detail);
  return cookieOf(answer.setCookie);
}
