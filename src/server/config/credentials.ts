import { createHash } from "node:crypto";
import type { AuthConfig, TokenConfig } from "./config.ts";
import type { ConfigFile } from "./file.ts";
import { notShown, shown, stop, warn, type Findings } from "./findings.ts";
import type { Read } from "./options.ts";
import { addressMatcher, isLoopback, parseRange, type AddressRange } from "./ranges.ts";
import { isActorName } from "./values.ts";

/** The name in the record of whoever comes with API_BEARER_TOKEN. */
const apiTokenName = "api";

/** As authentik's outposts and many proxies after them send it. */
const defaultEdgeHeader = "X-authentik-username";

/** A shorter token can be guessed in the end, since nobody is ever locked out: warned of. */
const tokenCharactersMin = 20;
/** A shorter secret is refused: whoever guesses it may take any name. */
const proxySecretCharactersMin = 16;
/** Longer ones do not fit into a header together with everything else. */
const credentialCharactersMax = 4096;

/** `ownAddresses`: of this machine, as the agent has them too. */
export function readCredentials(
  read: Read,
  file: ConfigFile,
  ownAddresses: readonly string[],
  findings: Findings,
): AuthConfig {
  const proxySecret = readProxySecret(read, findings);
  return {
    tokens: readTokens(read, file, findings),
    trustedProxies: readProxies(read, proxySecret !== null, ownAddresses, findings),
    proxySecret,
    edgeHeader: readEdgeHeader(file, findings),
  };
}

function readTokens(read: Read, file: ConfigFile, findings: Findings): readonly TokenConfig[] {
  const tokens: TokenConfig[] = [];
  const token = read("API_BEARER_TOKEN");
  if (token !== undefined) {
    if (!canBeSent(token)) {
      const mend =
        "No client can send it: use printable ASCII without spaces, for example `openssl rand -hex 32`.";
      stop(findings, "API_BEARER_TOKEN", notShown, mend);
    } else if (token.length < tokenCharactersMin) {
      const mend = `It is shorter than ${tokenCharactersMin} characters and could be guessed. Better: \`openssl rand -hex 32\`.`;
      warn(findings, "API_BEARER_TOKEN", notShown, mend);
    }
    tokens.push({
      name: apiTokenName,
      scope: "operate",
      sha256: createHash("sha256").update(token).digest("hex"),
    });
  }
  for (const [index, { name, scope, sha256 }] of (file.tokens ?? []).entries()) {
    const option = `tokens[${index}]`;
    if (!isActorName(name))
      stop(
        findings,
        `${option}.name`,
        shown(name),
        "It must be one line without commas, and not the name of a part of Breakglass.",
      );
    if (tokens.some((other) => other.name === name))
      stop(
        findings,
        `${option}.name`,
        shown(name),
        "There is a token of this name already: the record could not tell who acted.",
      );
    if (tokens.some((other) => other.sha256 === sha256))
      stop(
        findings,
        `${option}.sha256`,
        notShown,
        "Two names have the same token: the record could not tell who acted.",
      );
    tokens.push({ name, scope: scope ?? "operate", sha256 });
  }
  return tokens;
}

function canBeSent(credential: string): boolean {
  return /^[\x21-\x7e]+$/.test(credential) && credential.length <= credentialCharactersMax;
}

function readProxySecret(read: Read, findings: Findings): string | null {
  const secret = read("BREAKGLASS_PROXY_SECRET");
  if (secret === undefined) return null;
  if (!canBeSent(secret) || secret.length < proxySecretCharactersMin) {
    const rule = `at least ${proxySecretCharactersMin} printable ASCII characters without spaces`;
    stop(
      findings,
      "BREAKGLASS_PROXY_SECRET",
      notShown,
      `It must be ${rule}, for example \`openssl rand -hex 32\`.`,
    );
  }
  if (read("BREAKGLASS_TRUSTED_PROXIES") === undefined) {
    const mend =
      "It counts only together with BREAKGLASS_TRUSTED_PROXIES: set the proxy's address there, or remove it.";
    warn(findings, "BREAKGLASS_PROXY_SECRET", notShown, mend);
  }
  return secret;
}

function readProxies(
  read: Read,
  hasSecret: boolean,
  ownAddresses: readonly string[],
  findings: Findings,
): readonly AddressRange[] {
  const option = "BREAKGLASS_TRUSTED_PROXIES";
  const ranges: AddressRange[] = [];
  for (const text of (read(option) ?? "").split(/[\s,]+/).filter((part) => part !== "")) {
    const range = parseRange(text);
    if (range === undefined) {
      stop(
        findings,
        option,
        shown(text),
        "Each must be an address or a range: 192.0.2.7, 192.0.2.0/28, 2001:db8::/64; commas between.",
      );
      continue;
    }
    const reason = hasSecret ? undefined : sharedWithTheAgent(range, ownAddresses);
    if (reason !== undefined) {
      const mend =
        `It ${reason}, so that others there, the agent too, could claim any name. Name the proxy's own address, or ` +
        "have the proxy send BREAKGLASS_PROXY_SECRET in the header X-Breakglass-Proxy-Secret.";
      stop(findings, option, shown(text), mend);
    }
    ranges.push(range);
  }
  return ranges;
}

/** Wider ranges are not one proxy's, but a network's. */
const narrowPrefix = { ipv4: 24, ipv6: 64 } as const;

function sharedWithTheAgent(range: AddressRange, ownAddresses: readonly string[]): string | undefined {
  const contains = addressMatcher([range]);
  if (isLoopback(range.address) || contains("::1")) return "contains loopback addresses";
  if (ownAddresses.some(contains)) return "contains an address of this machine";
  const narrow = narrowPrefix[range.family];
  return range.prefix < narrow ? `is wider than /${narrow}` : undefined;
}

function readEdgeHeader(file: ConfigFile, findings: Findings): string {
  const header = file.edge_header;
  if (header === undefined) return defaultEdgeHeader;
  // Other header characters are legal, but proxies and gateways fold them in ways of their own.
  const meansSomethingElse = /^(?:authorization|cookie|host|origin|x-breakglass-proxy-secret|sec-.*)$/i;
  if (!/^[A-Za-z][A-Za-z0-9-]{0,63}$/.test(header) || meansSomethingElse.test(header))
    stop(
      findings,
      "edge_header",
      shown(header),
      "It must be the name of a header of letters, digits and '-', for example X-Forwarded-User.",
    );
  return header;
}

/** Invariant 6: nobody gets in by default. */
export function refuseOpenDoor(read: Read, file: ConfigFile, host: string, findings: Findings): void {
  const credentials = [read("API_BEARER_TOKEN"), read("BREAKGLASS_TRUSTED_PROXIES"), file.tokens?.[0]];
  if (isLoopback(host) || credentials.some((credential) => credential !== undefined)) return;
  const option = "BREAKGLASS_LISTEN";
  stop(
    findings,
    option,
    shown(read(option) ?? host),
    "It can be reached from other machines, and no credential is configured. Set API_BEARER_TOKEN (or " +
      "BREAKGLASS_TRUSTED_PROXIES), or listen on 127.0.0.1.",
  );
}
