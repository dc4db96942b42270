import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";
import { expect, it } from "vitest";
import { makeKeys } from "../../demo/ssh/keys.ts";

it("makes keys that the server side can always read", () => {
  for (let n = 0; n < 1_000; n++) {
    const { privateKey, publicKey } = makeKeys();
    const [mine, open] = [ssh2.utils.parseKey(privateKey), ssh2.utils.parseKey(publicKey)];
    if (mine instanceof Error || open instanceof Error) throw new Error(`${privateKey}\n${publicKey}`);
    expect(mine.getPublicSSH().equals(open.getPublicSSH())).toBe(true);
    expect(open.verify("words", mine.sign("words"))).toBe(true);
  }
});

it("makes keys that OpenSSH reads as its own", { timeout: 60_000 }, () => {
  const dir = mkdtempSync(join(tmpdir(), "breakglass-keys-"));
  for (let n = 0; n < 20; n++) {
    const { privateKey, publicKey } = makeKeys();
    const path = join(dir, String(n));
    writeFileSync(path, privateKey, { mode: 0o600 });
    expect(execFileSync("ssh-keygen", ["-y", "-f", path], { encoding: "utf8" }).trim()).toBe(publicKey);
  }
  rmSync(dir, { recursive: true });
});
