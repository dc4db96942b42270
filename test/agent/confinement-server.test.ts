import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync } from "node:fs";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Script } from "../../demo/model/script.ts";
import { startModel } from "../../demo/model/server.ts";
import type { SessionId } from "../../src/protocol/ids.ts";
import { accountRunner } from "../../src/server/agent/runner/account.ts";
import { openRunner, type Runner } from "../../src/server/agent/runner/runner.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { startServer } from "../e2e/server.ts";
import { EventStream } from "../http/event-stream.ts";
import { canHaveAccounts, makeAccount, type Account } from "./account.ts";
import { amongSessions, gotIn, isConnected, probeCommand, probes, type Booty } from "./probes.ts";
import { bash, isolations, say } from "./stage.ts";

// A real server, a real sshd, two real agents.
vi.setConfig({ testTimeout: 240_000 });

const caged = isolations.includes("bubblewrap");

describe("an agent of a real server that tries to get what is not its own", () => {
  test("gets all of it without confinement: these probes can succeed", async () => {
    expect(await attempt({ BREAKGLASS_ISOLATION: "none" })).toEqual(probes);
  });

  test.runIf(caged)("gets nothing in bubblewrap", async () => {
    expect(await attempt({ BREAKGLASS_ISOLATION: "bubblewrap" })).toEqual([]);
  });

  test.runIf(canHaveAccounts)("gets nothing as an account of its own", async () => {
    const account = throwAway();
    expect(await attempt({ BREAKGLASS_ISOLATION: `account:${account.name}` })).toEqual([]);
  });

  test.runIf(canHaveAccounts)("gets nothing from a runner of its own", async () => {
    const { socketPath } = await sidecar(throwAway(), "auto");
    expect(await attempt({ BREAKGLASS_ISOLATION: `runner:${socketPath}` })).toEqual([]);
  });
});

/** Without bubblewrap another account is all there is. */
describe.runIf(canHaveAccounts)("an agent without a cage, but of another account,", () => {
  test("gets nothing of the server's, and what other sessions have in that account", async () => {
    const account = throwAway();
    const sessionsDir = join(openFolder(), "sessions");
    const how = { account: account.name, sessionsDir, readable: [], executable: "/bin/bash" };
    await expectOnlySessions(accountRunner({ ...how, cage: "none" }), sessionsDir);
  });

  test("gets no more from a runner of its own", async () => {
    const { socketPath, sessionsDir } = await sidecar(throwAway(), "none", "/bin/bash");
    const isolation = { kind: "runner", socketPath } as const;
    await expectOnlySessions(openRunner({ isolation, sessionsDir, readable: [] }), sessionsDir);
  });
});

async function expectOnlySessions(runner: Runner, sessionsDir: string): Promise<void> {
  onTestFinished(() => runner.close());
  expect(await runner.problem()).toBeNull();
  const server = await rescueServer({ BREAKGLASS_ISOLATION: "none" });
  const [own, other] = [randomUUID(), randomUUID()];
  const begin = (session: SessionId, script: string) => {
    const errand = {
      session,
      executable: "/bin/bash",
      door: { socketPath: server.booty.keyPath, binDir: resolve("src/server/broker/bin") },
    };
    const { path, workspace, brokerSocket } = runner.places(errand);
    const env = { PATH: path, HOME: workspace, BREAKGLASS_TOKEN: session, BREAKGLASS_BROKER: brokerSocket };
    const cage = runner.start({ ...errand, args: ["--norc", "-c", script], env });
    onTestFinished(() => cage.kill());
    return cage;
  };
  const neighbour = begin(other, "echo mine >note; echo ready; read -r _");
  await once(neighbour.running.stdout, "data");
  const booty = { ...server.booty, otherState: join(sessionsDir, other) };
  const said = await text(begin(own, probeCommand(booty)).running.stdout);
  expect(gotIn(said)).toEqual(amongSessions);
}

/** The prompt is the command; what it wrote is the answer. */
const shell: Script = ({ step, prompt }) =>
  step === 0 ? { kind: "blocks", blocks: [bash(prompt)] } : say("Done.");

const token = "a-token-that-is-long-enough-to-pass";
const secret = "a-secret-of-the-proxy-in-front";

/** What the agent of a server with this configuration gets. */
async function attempt(env: Readonly<Record<string, string>>): Promise<string[]> {
  const server = await rescueServer(env);
  const other = await server.session();
  await server.run(other, "echo mine >note; cat note");
  const said = await server.run(
    await server.session(),
    probeCommand({ ...server.booty, otherState: join(server.sessionsDir, other) }),
  );
  return gotIn(said);
}

/** A server as it stands in a cluster: an edge in front, proxies trusted widely, a key, a machine that it looks at. */
async function rescueServer(env: Readonly<Record<string, string>>) {
  const root = openFolder();
  const dataDir = join(root, "data");
  const sessionsDir = join(root, "sessions");
  const key = makeKey(root, "key");
  const sshdWith = async (line: string) => {
    const sshd = await startSshd({ dir: openFolder(), authorizedKeys: [line] });
    onTestFinished(() => sshd.stop());
    return sshd;
  };
  const guest = await sshdWith(key.publicKey);
  const takesVerbs = `restrict,command="echo taken: $SSH_ORIGINAL_COMMAND" ${key.publicKey}`;
  const hypervisor = await sshdWith(takesVerbs);
  const model = await startModel({ script: shell });
  onTestFinished(() => model.close());
  const canary = `BG_CANARY=${randomUUID()}`;
  const bystander = spawn("sleep", ["1000"], { env: { [canary.split("=")[0]!]: canary.split("=")[1]! } });
  onTestFinished(() => void bystander.kill("SIGKILL"));
  const server = await startServer({
    demo: false,
    env: {
      API_BEARER_TOKEN: token,
      BREAKGLASS_DATA_DIR: dataDir,
      BREAKGLASS_SESSIONS_DIR: sessionsDir,
      BREAKGLASS_KEY_PATH: key.path,
      BREAKGLASS_DEVVM_HOST: `127.0.0.1:${guest.port}`,
      BREAKGLASS_DEVVM_USER: guest.user,
      BREAKGLASS_PVE_HOST: `127.0.0.1:${hypervisor.port}`,
      BREAKGLASS_PVE_USER: hypervisor.user,
      BREAKGLASS_TRUSTED_PROXIES: "0.0.0.0/0",
      BREAKGLASS_PROXY_SECRET: secret,
      ANTHROPIC_BASE_URL: model.url,
      ANTHROPIC_API_KEY: "dummy",
      ...env,
    },
  });
  while (!isConnected(dataDir)) await pause(20);
  const headers = { authorization: `Bearer ${token}` };
  const post = async (path: string, body?: unknown) => {
    const answer = await fetch(server.origin + path, {
      method: "POST",
      headers,
      body: JSON.stringify(body ?? {}),
    });
    const said = (await answer.json()) as Record<string, unknown>;
    expect({ status: answer.status, said }).toMatchObject({ status: 200 });
    return said;
  };
  const booty: Booty = {
    serverPid: server.child.pid!,
    serverPort: Number(new URL(server.origin).port),
    keyPath: key.path,
    dataDir,
    guestPort: guest.port,
    hypervisorPort: hypervisor.port,
    otherState: "/nowhere",
    canary,
  };
  return {
    booty,
    sessionsDir,
    session: async () => String((await post("/api/session"))["session_id"]),
    async run(session: string, prompt: string) {
      const stream = await EventStream.open(`${server.origin}/api/session/${session}/stream`, headers);
      onTestFinished(() => stream.close());
      await post(`/api/session/${session}/prompt`, { prompt });
      const of = (kind: string) =>
        stream.frames
          .map(({ data }) => data as Record<string, unknown> | undefined)
          .filter((data) => data?.["kind"] === kind);
      await stream.until(() => of("turn_end").length > 0);
      expect(of("error")).toEqual([]);
      return of("tool_result")
        .map((event) => String(event!["text"]))
        .join("\n");
    },
  };
}

/** `breakglass runner` as a sidecar has it: its own account, a shared folder for the socket, nothing of the server's. */
async function sidecar(account: Account, cage: "auto" | "none", claude?: string) {
  const root = openFolder();
  chownSync(root, account.uid, -1);
  const socketPath = join(root, "runner.sock");
  const sessionsDir = join(root, "sessions");
  const args = ["--socket", socketPath, "--sessions", sessionsDir, "--cage", cage];
  const program: ChildProcess = spawn(
    "/usr/bin/setpriv",
    [
      `--reuid=${account.uid}`,
      "--clear-groups",
      "--no-new-privs",
      "--",
      process.execPath,
      resolve("src/cli/main.mjs"),
      "runner",
      ...args,
      ...(claude === undefined ? [] : ["--claude", claude]),
    ],
    { env: { PATH: "/usr/bin:/bin" }, stdio: ["ignore", "pipe", "inherit"] },
  );
  onTestFinished(async () => {
    program.kill("SIGTERM");
    await once(program, "exit");
  });
  await once(program.stdout!, "data");
  return { socketPath, sessionsDir };
}

function throwAway(): Account {
  const account = makeAccount();
  onTestFinished(() => account.remove());
  return account;
}

/** Whoever finds it may go in: what is kept from others is kept by what lies in it. */
function openFolder(): string {
  const folder = scratchFolder();
  chmodSync(folder, 0o755);
  return folder;
}
