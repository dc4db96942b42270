import { isUuid, type Uuid } from "../../protocol/ids.ts";

/** `crypto.randomUUID` exists in secure contexts only; over plain HTTP on a LAN the same bits are put together here. */
export function newUuid(): Uuid {
  const made = isSecureContext ? crypto.randomUUID() : fromBytes(crypto.getRandomValues(new Uint8Array(16)));
  if (!isUuid(made)) throw new Error(`Not a UUID: ${made}`);
  return made;
}

function fromBytes(bytes: Uint8Array): string {
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
