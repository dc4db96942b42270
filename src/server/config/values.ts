import { isIP, isIPv6 } from "node:net";
import type { Endpoint } from "./config.ts";

/** `host`, `host:port`, `[v6]:port` or a bare IPv6 address. undefined for anything else. */
export function parseEndpoint(text: string, defaultPort: number): Endpoint | undefined {
  const bracketed = /^\[([0-9A-Fa-f:.]{2,45})\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed !== null) {
    return isIPv6(bracketed[1]!) ? endpoint(bracketed[1]!, bracketed[2], defaultPort) : undefined;
  }
  // No zones (`fe80::1%eth0`): ssh unfolds `%` in host names.
  if (isIPv6(text) && !text.includes("%")) return { host: text, port: defaultPort };
  const plain = /^([^:]{1,253})(?::(\d{1,5}))?$/.exec(text);
  if (plain === null || !isHost(plain[1]!)) return undefined;
  return endpoint(plain[1]!, plain[2], defaultPort);
}

function endpoint(host: string, port: string | undefined, defaultPort: number): Endpoint | undefined {
  const number = port === undefined ? defaultPort : Number(port);
  return number > 65_535 ? undefined : { host, port: number };
}

/** An IPv4 address or a name (RFC 1123, with underscores as they are used). Nothing that ssh could take for an option. */
function isHost(text: string): boolean {
  if (isIP(text) === 4) return true;
  const label = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
  const labels = text.replace(/\.$/, "").split(".");
  // A name that ends in a number is a mistyped address (WHATWG URL, "ends in a number").
  return labels.every((part) => label.test(part)) && !/^\d+$/.test(labels.at(-1)!);
}

/** An account as useradd(8) takes it; nothing that ssh could take for an option or a host. */
export function isAccount(text: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/.test(text);
}

export interface NumberRange {
  readonly min: number;
  readonly max: number;
  readonly whole: boolean;
}

/** Decimal digits, with a fraction where the range allows one. undefined when it is anything else or out of range. */
export function parseNumber(text: string, { min, max, whole }: NumberRange): number | undefined {
  if (!(whole ? /^\d{1,9}$/ : /^\d{1,9}(?:\.\d{1,6})?$/).test(text)) return undefined;
  const value = Number(text);
  return value >= min && value <= max ? value : undefined;
}

/** The origin of an http or https URL that names nothing but an origin. */
export function parseOrigin(text: string): string | undefined {
  const url = parseHttpUrl(text);
  if (url === undefined || url.pathname !== "/" || url.search !== "" || url.hash !== "") return undefined;
  return url.username === "" && url.password === "" ? url.origin : undefined;
}

export function parseHttpUrl(text: string): URL | undefined {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) ? url : undefined;
}

/** Names that the record uses for parts of Breakglass itself. */
const reservedActors: ReadonlySet<string> = new Set(["agent", "breakglass"]);

/** Longer names are refused: they are shown on a phone and written into every record. */
const actorCharactersMax = 100;

/**
 * A person's name as it may stand in the record: one line, nothing invisible or turning the direction of writing, no comma
 * (a proxy joins doubled headers with one), and no name of a part of Breakglass.
 */
export function isActorName(text: string): boolean {
  return (
    text.length > 0 &&
    text.length <= actorCharactersMax &&
    text.trim() === text &&
    !/[\p{C}\p{Zl}\p{Zp},]/u.test(text) &&
    !reservedActors.has(text.toLowerCase())
  );
}
