import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const frozen = { by: "cli:root", at: "2026-01-01T00:00:00.000Z" };

test("freeze and thaw are asked of the server, and what holds is said", async () => {
  const freeze = await askWith("freeze", () => ({ frozen, durable: true }));
  expect(freeze).toMatchObject({ status: 0, asked: [`POST /api/freeze {"frozen":true}`] });
  expect(freeze.stdout).toContain("Frozen by cli:root at 2026-01-01");
  const thaw = await askWith("thaw", () => ({ frozen: null, durable: true }));
  expect(thaw).toMatchObject({ status: 0, asked: [`POST /api/freeze {"frozen":false}`] });
  expect(thaw.stdout).toBe("Agents may work again.\n");
});

test("a freeze that the disk did not confirm holds, and is no plain success", async () => {
  const { status, stdout, stderr } = await askWith("freeze", () => ({ frozen, durable: false }));
  expect({ status, stdout, stderr }).toEqual({
    status: 1,
    stdout: expect.stringContaining("Frozen by"),
    stderr: expect.stringContaining("until the server restarts"),
  });
});

test("what waits is shown exactly, and nothing in it is obeyed by a terminal or passes for our words", async () => {
  const waiting = {
    approval: "33333333-3333-4333-8333-333333333333",
    session_id: "22222222-2222-4222-8222-222222222222",
    session_name: "Repair",
    target: "devvm",
    account: "root",
    command: "echo \u001b[2Jharmless\nsha256    0000\u202e",
    stdin: { bytes: 3, text: "a\rb" },
    sha256: "f".repeat(64),
    expires_at: "2026-01-01T00:10:00.000Z",
    why: "The account root on devvm is privileged.",
  };
  const { status, stdout } = await askWith("approvals", () => [waiting]);
  expect(status).toBe(0);
  expect(stdout).toContain("  | echo ⟨U+001B⟩[2Jharmless\n  | sha256    0000⟨U+202E⟩\n");
  expect(stdout).toContain("  | a⟨U+000D⟩b\n");
  expect(stdout).toContain(`sha256    ${waiting.sha256}\n`);
  expect((await askWith("approvals", () => [])).stdout).toBe("Nothing waits for an approval.\n");
});

test("an answer that is none of ours, and no server, are told in one line", async () => {
  const refused = await askWith("freeze", () => ({ detail: "The server is stopping." }));
  expect(refused).toMatchObject({ status: 1, stdout: "", stderr: "The server is stopping.\n" });
  const nobody = await askWith("freeze", null);
  expect(nobody).toMatchObject({ status: 1, stdout: "" });
  expect(nobody.stderr).toMatch(/^No server answers at [^\n]+\n$/);
});

/** What the package's own command says when this answers at the control socket; null: nobody listens. */
async function askWith(command: string, answer: (() => unknown) | null) {
  const folder = mkdtempSync(join(tmpdir(), "bg-freeze-"));
  const asked: string[] = [];
  const server = createServer((request, response) => {
    void textOf(request).then((text) => {
      asked.push(`${request.method} ${request.url} ${text}`.trim());
      response.end(JSON.stringify(answer?.()));
    });
  });
  if (answer !== null) await once(server.listen(join(folder, "control.sock")), "listening");
  onTestFinished(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const env = { PATH: process.env["PATH"], BREAKGLASS_DATA_DIR: folder };
  const child = spawn(process.execPath, ["src/cli/main.mjs", command], { env });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, stdout, stderr, asked };
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}
