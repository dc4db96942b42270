import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** A block of IP addresses in CIDR form (RFC 4632, RFC 4291). */
export interface AddressRange {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** `192.0.2.0/24`, `2001:db8::/64`, or one address. undefined for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const parts = /^([0-9A-Fa-f.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text);
  const address = parts?.[1];
  if (address === undefined || isIP(address) === 0) return undefined;
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  const bits = family === "ipv4" ? 32 : 128;
  const prefix = parts?.[2] === undefined ? bits : Number(parts[2]);
  // A range of v4-mapped addresses would never match: addresses are compared as IPv4 once they are mapped back.
  if (prefix > bits || plainAddress(address) !== address) return undefined;
  return { address, prefix, family };
}

/** Whether an address as Node reports it (v4-mapped, with a zone) lies in one of the ranges. */
export function addressMatcher(ranges: readonly AddressRange[]): (address: string) => boolean {
  const list = new BlockList();
  for (const { address, prefix, family } of ranges) list.addSubnet(address, prefix, family);
  return (address) => {
    const plain = plainAddress(address);
    const version = isIP(plain);
    return version !== 0 && list.check(plain, version === 4 ? "ipv4" : "ipv6");
  };
}

/** `::ffff:192.0.2.1`, also in hexadecimal, becomes `192.0.2.1`; a zone (`%eth0`) is cut off. */
export function plainAddress(address: string): string {
  const bare = address.replace(/%.*$/s, "");
  if (!isIPv6(bare)) return bare;
  const canonical = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (mapped === null) return bare;
  const [high, low] = [parseInt(mapped[1]!, 16), parseInt(mapped[2]!, 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

const loopback = addressMatcher([
  { address: "127.0.0.0", prefix: 8, family: "ipv4" },
  { address: "::1", prefix: 128, family: "ipv6" },
]);

/** `host` without brackets. Other names may lead anywhere, whatever they resolve to today. */
export function isLoopback(host: string): boolean {
  return host.toLowerCase() === "localhost" || loopback(host);
}
