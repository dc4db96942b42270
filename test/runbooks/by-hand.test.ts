import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { RunbookOutcome } from "../../src/server/runbooks/runbooks.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";

/** Every command is a Node of its own. */
const timeout = 120_000;

/** `breakglass runbook …` as somebody types it. */
async function byHand(env: Readonly<Record<string, string>>, ...args: string[]) {
  const child = spawn(process.execPath, ["src/cli/main.mjs", "runbook", ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: env["BREAKGLASS_DATA_DIR"] ?? "/nonexistent", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  return { code, stdout, stderr };
}

/** The guest is this machine, reached over real ssh. */
async function guest() {
  const dir = scratchFolder();
  const key = makeKey(dir, "key");
  const sshd = await startSshd({ dir, authorizedKeys: [key.publicKey] });
  onTestFinished(() => sshd.stop());
  return {
    sshd,
    env: {
      BREAKGLASS_DATA_DIR: join(dir, "data"),
      BREAKGLASS_DEVVM_HOST: `127.0.0.1:${sshd.port}`,
      BREAKGLASS_DEVVM_USER: sshd.user,
      BREAKGLASS_KEY_PATH: key.path,
    },
  };
}

test("without a name it lists what there is", async () => {
  const { code, stdout } = await byHand({ BREAKGLASS_DATA_DIR: scratchFolder() });
  expect(code).toBe(0);
  expect(stdout.split("\n").map((line) => line.split(" ")[0])).toEqual([
    "triage",
    "memory",
    "disk",
    "services",
    "qemu-wedged",
    "network",
    "",
  ]);
});

test("wrong words and a name that there is not ask nothing", { timeout }, async () => {
  const { env } = await guest();
  expect(await byHand(env, "triage", "disk")).toMatchObject({ code: 64 });
  const { code, stderr } = await byHand(env, "nothing");
  expect(code).toBe(2);
  expect(stderr).toContain('There is no runbook "nothing"');
  expect(await byHand(env, "triage", "--target", "lamp")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('No target is configured by the name "lamp"') as string,
  });
});

test.each(["triage", "memory", "disk", "services", "qemu-wedged", "network"])(
  "%s runs for real on this machine over real ssh: each question is answered, not there, or said to be open",
  { timeout },
  async (name) => {
    const { env } = await guest();
    const { code, stdout, stderr } = await byHand(env, name, "--json");
    expect(stderr).toContain("straight over SSH");
    const { findings, unanswered, summary } = JSON.parse(stdout) as RunbookOutcome;
    // No hypervisor here. What a container lacks (a journal, systemd) may be open as well; a question must not be ill-put.
    for (const { step, reason } of unanswered) {
      expect(["status", "evidence", "kernel", "errors", "failed", "stuck"], `${step}: ${reason}`).toContain(
        step,
      );
      expect(reason).not.toMatch(/usage|invalid|unrecognized|unknown option/i);
    }
    expect(code).toBe(findings.length > 0 ? 1 : unanswered.length > 0 ? 2 : 0);
    expect(summary).not.toBe("");
  },
);

test("a guest that is gone is found, in words", { timeout }, async () => {
  const { env, sshd } = await guest();
  await sshd.stop();
  const { code, stdout } = await byHand(env, "triage");
  expect(code).toBe(1);
  expect(stdout).toContain("BAD     devvm answers nothing that it was asked.");
  expect(stdout).toContain("what they would have shown is not known");
});

/** A server's control socket, as the protocol says it (docs/protocol.md). */
async function server(dataDir: string, events: readonly object[], started = 202) {
  const asked: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    asked.push(`${request.method} ${request.url} ${body.replace(/"key":"[^"]*"/, '"key":"…"')}`);
    if (request.url === "/api/session") return response.end(JSON.stringify({ session_id: "s1" }));
    if (request.method === "POST") {
      response.statusCode = started;
      return response.end(
        JSON.stringify(started === 202 ? { status: "started" } : { detail: "Frozen by ana." }),
      );
    }
    const at = "2026-01-01T00:00:00.000Z";
    response.write(": here\n\nevent: caught-up\ndata: {}\n\n");
    events.forEach((event, id) =>
      response.write(`id: ${id}\ndata: ${JSON.stringify({ ...event, id, at })}\n\n`),
    );
    return undefined;
  };
  const listening = createServer((request, response) => void answer(request, response));
  listening.listen(join(dataDir, "control.sock"));
  await once(listening, "listening");
  onTestFinished(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return asked;
}

const settled = {
  kind: "runbook",
  phase: "settled",
  name: "disk",
  title: "Disk",
  target: "db",
  findings: [],
  unanswered: [{ step: "space", reason: "hung" }],
  summary: "Whether something is wrong is not known.",
  next: "Ask again.",
};

test("through the running server it is a session's, followed to its end", async () => {
  const BREAKGLASS_DATA_DIR = scratchFolder();
  const asked = await server(BREAKGLASS_DATA_DIR, [
    { ...settled, phase: "started" },
    settled,
    { kind: "turn_end", reason: "done" },
  ]);
  const { code, stdout, stderr } = await byHand({ BREAKGLASS_DATA_DIR }, "disk", "--target", "db");
  expect(code).toBe(2);
  expect(stderr).toContain("in session s1");
  expect(stdout).toBe(
    "Disk on db: Whether something is wrong is not known.\n\nUNKNOWN space: hung\n\nNext: Ask again.\n",
  );
  expect(asked).toEqual([
    "POST /api/session {}",
    'POST /api/session/s1/runbook {"name":"disk","target":"db","key":"…"}',
    "GET /api/session/s1/stream ",
  ]);
});

test("what the server refuses, or does not bring to an end, is not known", { timeout }, async () => {
  const frozen = scratchFolder();
  await server(frozen, [], 409);
  expect(await byHand({ BREAKGLASS_DATA_DIR: frozen }, "disk")).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringContaining("Frozen by ana.") as string,
  });
  const stopped = scratchFolder();
  await server(stopped, [{ kind: "cancelled" }, { kind: "turn_end", reason: "cancelled" }]);
  expect(await byHand({ BREAKGLASS_DATA_DIR: stopped }, "disk")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("It was stopped.") as string,
  });
});
