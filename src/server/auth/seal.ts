import { createHmac, timingSafeEqual } from "node:crypto";

/** What a seal is for: one made for one purpose is worth nothing for another. */
type Purpose = "cookie" | "form" | "token";

/** HMAC-SHA-256 (RFC 2104) under the server's secret. */
export interface Sealer {
  seal(purpose: Purpose, text: string): string;
  matches(purpose: Purpose, text: string, seal: string): boolean;
}

/** A shorter secret is our bug: secret.ts makes it. */
const secretBytesMin = 32;

export function createSealer(secret: Buffer): Sealer {
  if (secret.length < secretBytesMin)
    throw new Error(`The cookie secret must have ${secretBytesMin} bytes or more.`);
  const seal = (purpose: Purpose, text: string) =>
    createHmac("sha256", secret).update(`${purpose}\0${text}`).digest("base64url");
  return { seal, matches: (purpose, text, given) => sameText(seal(purpose, text), given) };
}

/** In constant time for texts of one length; a length is no secret here. */
export function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
