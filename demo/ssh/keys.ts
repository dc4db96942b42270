import { generateKeyPairSync, randomBytes } from "node:crypto";

export interface Keys {
  /** OpenSSH format. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA…` */
  readonly publicKey: string;
}

/**
 * A new ed25519 key pair as OpenSSH keeps it (PROTOCOL.key in its sources). By hand: the generator of ssh2 1.17 makes a
 * malformed key now and then, and OpenSSH 9.2 reads no PKCS#8 of this kind.
 */
export function makeKeys(): Keys {
  const { d, x } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const seed = Buffer.from(d!, "base64url");
  const point = Buffer.from(x!, "base64url");
  const type = Buffer.from("ssh-ed25519");
  const publicBlob = Buffer.concat([field(type), field(point)]);
  // The same number twice: how a reader knows that it has decrypted rightly, although nothing is encrypted here.
  const check = randomBytes(4);
  const secret = [check, check, publicBlob, field(Buffer.concat([seed, point])), field(Buffer.alloc(0))];
  const unpadded = Buffer.concat(secret);
  const padding = Buffer.from([1, 2, 3, 4, 5, 6, 7].slice(0, (8 - (unpadded.length % 8)) % 8));
  const none = field(Buffer.from("none"));
  const whole = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    none,
    none,
    field(Buffer.alloc(0)),
    length(1),
    field(publicBlob),
    field(Buffer.concat([unpadded, padding])),
  ]);
  const lines = whole.toString("base64").match(/.{1,70}/g)!;
  return {
    privateKey: [
      "-----BEGIN OPENSSH PRIVATE KEY-----",
      ...lines,
      "-----END OPENSSH PRIVATE KEY-----",
      "",
    ].join("\n"),
    publicKey: `${type.toString()} ${publicBlob.toString("base64")}`,
  };
}

const field = (bytes: Buffer) => Buffer.concat([length(bytes.length), bytes]);

function length(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
