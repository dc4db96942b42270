import { isIP } from "node:net";
import type { Config } from "../config/config.ts";
import { isLoopback } from "../config/ranges.ts";
import { headerValues, type AuthRequest } from "./request.ts";

type Origin =
  | { readonly kind: "same" }
  /** The client says nothing: no browser of today, or a page that hides its origin. */
  | { readonly kind: "silent" }
  | { readonly kind: "foreign"; readonly detail: string };

export interface Origins {
  /** Whether a state change was asked for by our own page (Fetch, 3.2 and Fetch Metadata). */
  judge(request: AuthRequest): Origin;
}

export function createOrigins({ publicUrl, listen }: Pick<Config, "publicUrl" | "listen">): Origins {
  /** The origins that our page can have under this Host; none for a Host that is not ours. */
  const originsUnder = (host: string): readonly string[] => {
    if (publicUrl !== null && originOf(new URL(publicUrl).protocol, host) === publicUrl) return [publicUrl];
    const origin = originOf("http:", host);
    if (origin === undefined || !isOurs(new URL(origin).hostname)) return [];
    return [origin, originOf("https:", host)!];
  };
  const isOurs = (hostname: string): boolean => {
    const bare = hostname.replace(/^\[|\]$/g, "");
    // Port forwarding ends here, also where a public URL is configured; no foreign page can have this Host.
    if (isLoopback(bare)) return true;
    if (publicUrl !== null) return false;
    // Rebinding needs a name: under an address the browser has truly connected to that address.
    if (isUnspecified(listen.host)) return isIP(bare) !== 0;
    return bare === originHost(listen.host);
  };

  return {
    judge(request) {
      const sites = headerValues(request, "sec-fetch-site");
      // With `Referrer-Policy: no-referrer` the forms of our own pages say "null" (Fetch, "append a request Origin header").
      const origins = headerValues(request, "origin").filter((origin) => origin !== "null");
      if (sites.length === 0 && origins.length === 0) return { kind: "silent" };
      if (sites.some((site) => site !== "same-origin") || sites.length > 1 || origins.length > 1)
        return foreign("It came from another site");
      const hosts = headerValues(request, "host");
      const ours = hosts.length === 1 ? originsUnder(hosts[0]!) : [];
      if (ours.length === 0)
        return foreign(`It was sent to a host that is not ${publicUrl ?? "a local one"}`);
      if (origins.some((origin) => !ours.includes(origin)))
        return foreign(`It did not come from ${ours.join(" or ")}`);
      return { kind: "same" };
    },
  };
}

function foreign(what: string): Origin {
  return {
    kind: "foreign",
    detail:
      `${what}, and nothing was done. Open the console under its own address; behind a proxy set ` +
      "BREAKGLASS_PUBLIC_URL to the address in the browser and have the proxy pass the Host header on.",
  };
}

/** A Host header as a browser would write the origin: default port away, lower case. undefined for what is no host. */
function originOf(protocol: string, host: string): string | undefined {
  if (!/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(host)) return undefined;
  return URL.parse(`${protocol}//${host}/`)?.origin;
}

function isUnspecified(host: string): boolean {
  return host === "0.0.0.0" || originHost(host) === "::";
}

function originHost(host: string): string {
  const url = URL.parse(`http://${isIP(host) === 6 ? `[${host}]` : host}/`);
  return (url?.hostname ?? host).replace(/^\[|\]$/g, "");
}
