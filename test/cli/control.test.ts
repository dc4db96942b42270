import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openControl } from "../../src/server/http/control.ts";

test("the control socket is its owner's only", async () => {
  const path = join(scratch(), "control.sock");
  const control = await openControl({ path, port: 1, mintLink: () => "abc", answer: () => {} });
  onTestFinished(() => control.close());
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a control socket that cannot be made its owner's only is not opened, and nothing crashes", async () => {
  const path = join(scratch(), "control.sock");
  const opening = openControl({ path, port: 1, mintLink: () => "abc", answer: () => {} });
  // It is bound at once and closed to others a moment later: in between it goes.
  rmSync(path);
  await expect(opening).rejects.toThrow(/ENOENT.*chmod/);
});

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "bg-control-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}
