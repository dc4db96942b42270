import { expect, test } from "vitest";
import type { PendingApproval } from "../../src/protocol/api.ts";
import { approvalsFor } from "../../src/server/http/for-scope.ts";

const key = `-----BEGIN PRIVATE KEY-----\n${`${"A".repeat(64)}\n`.repeat(300)}-----END PRIVATE KEY-----\n`;

function asked(stdin: Buffer, as: "text" | "base64"): PendingApproval {
  return {
    approval: "00000000-0000-4000-8000-000000000001",
    session_id: "00000000-0000-4000-8000-000000000002",
    session_name: "hello",
    target: "devvm",
    account: "root",
    command: "tee /etc/key",
    stdin: {
      bytes: stdin.length,
      sha256: "0".repeat(64),
      [as]: stdin.toString(as === "text" ? "utf8" : "base64"),
    },
    sha256: "0".repeat(64),
    asked_at: "2026-01-01T00:00:00.000Z",
    expires_at: "2026-01-01T00:10:00.000Z",
    why: "The account root on devvm is privileged.",
  };
}

test("who may decide is shown exactly what will run", () => {
  const all = [asked(Buffer.from(key), "text"), asked(Buffer.from([255, 0, 1]), "base64")];
  expect(approvalsFor("operate", all)).toEqual(all);
});

test.each(["text", "base64"] as const)("a key in stdin that goes along as %s is shown to no reader", (as) => {
  const stdin = Buffer.concat([Buffer.from(`key:\n${key}`), Buffer.from(as === "text" ? "end" : [255])]);
  const [shown] = approvalsFor("read", [asked(stdin, as)]);
  expect(shown?.stdin).toEqual({
    bytes: stdin.length,
    sha256: "0".repeat(64),
    text: `key:\n[redacted]\n${as === "text" ? "end" : "\uFFFD"}`,
  });
});
