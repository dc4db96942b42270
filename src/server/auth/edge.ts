import type { AuthConfig } from "../config/config.ts";
import { addressMatcher } from "../config/ranges.ts";
import { isActorName } from "../config/values.ts";
import { headerValues, otherSpellings, type AuthRequest } from "./request.ts";
import { sameText } from "./seal.ts";

/** In which a proxy proves that it is one, where the address alone does not. */
const proxySecretHeader = "X-Breakglass-Proxy-Secret";

export type EdgeAnswer =
  | { readonly kind: "absent" }
  | { readonly kind: "named"; readonly name: string }
  | { readonly kind: "wrong secret"; readonly detail: string }
  | { readonly kind: "refused"; readonly status: 400 | 403; readonly detail: string };

/** Whom a trusted proxy names. From anywhere else its headers are nothing at all. */
export function createEdge({
  trustedProxies,
  proxySecret,
  edgeHeader,
}: AuthConfig): (request: AuthRequest) => EdgeAnswer {
  const isProxy = addressMatcher(trustedProxies);
  return (request) => {
    if (request.remoteAddress === undefined || !isProxy(request.remoteAddress)) return { kind: "absent" };
    for (const header of [edgeHeader, proxySecretHeader]) {
      const doubt = doubtAbout(request, header);
      if (doubt !== undefined) return { kind: "refused", status: 400, detail: doubt };
    }
    const value = headerValues(request, edgeHeader)[0];
    if (value === undefined || value === "") return { kind: "absent" };
    if (proxySecret !== null && !sameText(proxySecret, headerValues(request, proxySecretHeader)[0] ?? "")) {
      const detail = `The proxy named somebody without the right ${proxySecretHeader}: have it send the value of BREAKGLASS_PROXY_SECRET.`;
      return { kind: "wrong secret", detail };
    }
    const name = decoded(value);
    if (name !== undefined && isActorName(name)) return { kind: "named", name };
    const detail = `What the proxy sent in ${edgeHeader} is no name for the record: one line of at most 100 characters, no comma, not "agent".`;
    return { kind: "refused", status: 403, detail };
  };
}

/** A client's own header that got past the proxy shows as a second one, or as one that is spelled another way. */
function doubtAbout(request: AuthRequest, header: string): string | undefined {
  const strip = "Have the proxy remove what clients send of it.";
  if (headerValues(request, header).length > 1) return `There is more than one ${header} header. ${strip}`;
  if (otherSpellings(request, header).length > 0)
    return `There is another spelling of the ${header} header. ${strip}`;
  return undefined;
}

/** Node gives header bytes as Latin-1; names come in UTF-8. */
function decoded(value: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(value, "latin1"));
  } catch {
    return undefined;
  }
}
