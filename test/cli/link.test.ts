import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

test("a server's answer becomes a link, on the port that the server named", async () => {
  const { status, stdout } = await askWith((_, response) => response.end(`{"link":"abc","port":4711}`));
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringContaining(":4711/#k=abc\n") });
});

test.each<[string, RequestListener]>([
  ["is not JSON", (_, response) => response.end("<html>")],
  ["is JSON of something else", (_, response) => response.writeHead(404).end(`{"detail":"unknown"}`)],
  ["breaks off", (_, response) => response.write(`{"link":`, () => response.destroy())],
])("an answer that %s is told as no server, without a stack", async (_, answer) => {
  const { status, stdout, stderr } = await askWith(answer);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(/^No server answers at [^\n]+\n$/);
});

/** What `breakglass link` says, through the package's own command, when this answers at the control socket. */
async function askWith(answer: RequestListener) {
  const folder = mkdtempSync(join(tmpdir(), "bg-link-"));
  const server = createServer(answer).listen(join(folder, "control.sock"));
  onTestFinished(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  await once(server, "listening");
  const env = { PATH: process.env["PATH"], BREAKGLASS_DATA_DIR: folder };
  const child = spawn(process.execPath, ["src/cli/breakglass.mjs", "link"], { env });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, stdout, stderr };
}
