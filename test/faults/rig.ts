import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import type { OperationId } from "../../src/protocol/ids.ts";
import type { TargetStatus } from "../../src/protocol/targets.ts";
import type { Verb } from "../../src/protocol/verbs.ts";
import { keptFolder } from "../../src/server/ssh/runtime-folder.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";
import { startServer, type RunningServer } from "../e2e/server.ts";
import { breakglassHost, makeHost, until } from "../host/host.ts";
import { startRelay } from "../doubles/relay.ts";

export const token = "a-token-that-is-long-enough-to-pass";
/** Everything here ends by events; this only ends what hangs. */
export const patience = { timeout: 45_000, interval: 50 };

export interface RigOptions {
  readonly machine?: "on" | "off";
  /** More of the server's environment, given the public half of its key. */
  readonly env?: (publicKey: string) => Promise<Readonly<Record<string, string>>>;
}

/** The real server, OpenSSH's client and sshd, the real forced command, and a qm over a dummy QEMU. */
export async function makeRig({ machine = "on", env }: RigOptions = {}) {
  const host = await makeHost();
  // A host that has been up for long: its journal (host/lib/Breakglass/Job.pm) is older than all that is asked of it here.
  await host.run("v2 hello");
  utimesSync(host.file("run/since"), 1, 1);
  const key = makeKey(host.dir, "id");
  const forced = `restrict,command="${breakglassHost} --config ${host.config} 102" ${key.publicKey}`;
  const sshd = await startSshd({ authorizedKeys: [forced], dir: host.dir });
  const relay = await startRelay(sshd.port);
  const dataDir = join(host.dir, "data");
  const further = (await env?.(key.publicKey)) ?? {};
  const pinHostKey = () => {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(join(dataDir, "known_hosts"), `[127.0.0.1]:${relay.port} ${sshd.hostPublicKey}\n`);
  };
  pinHostKey();
  onTestFinished(async () => {
    await relay.close();
    await sshd.stop();
    await host.end();
  });
  if (machine === "on") await host.qm("start", "102");

  let server: RunningServer;
  const start = async () => {
    server = await startServer({
      demo: false,
      env: {
        HOME: host.dir,
        BREAKGLASS_DATA_DIR: dataDir,
        BREAKGLASS_PVE_HOST: `127.0.0.1:${relay.port}`,
        BREAKGLASS_PVE_USER: sshd.user,
        BREAKGLASS_KEY_PATH: key.path,
        API_BEARER_TOKEN: token,
        ...further,
      },
    });
  };
  await start();

  const ask = askerOf(() => server);
  const operation = async (id: OperationId) =>
    (await ask("GET", `/api/operations/${id}`)).body as unknown as Operation;

  /** Answers the Operation's id: it is under way. */
  const operate = async (verb: Verb, id: OperationId = randomUUID()): Promise<OperationId> => {
    const answer = await ask("POST", "/api/targets/devvm/operations", { verb, key: id });
    expect(answer.status, JSON.stringify(answer.body)).toBe(202);
    return id;
  };

  return {
    host,
    relay,
    sshd,
    sessionsDir: join(dataDir, "sessions"),
    server: () => server,
    ask,
    operation,
    targets: async () => (await ask("GET", "/api/targets")).body as unknown as readonly TargetStatus[],
    operate,
    /** Waits for its end. */
    async settled(id: OperationId): Promise<Operation> {
      await expect.poll(async () => (await operation(id)).settled_at, patience).toBeTruthy();
      return operation(id);
    },
    /** Sends a Verb and resolves when it is held at this question or order of qm's, until `host.openGate`. */
    async held(verb: Verb, gate: string): Promise<OperationId> {
      const asked = () => host.text("calls").split(`${gate} 102`).length;
      const before = asked();
      await host.fault(gate, "gate");
      const id = await operate(verb);
      await until(host.dir, () => asked() > before);
      return id;
    },
    killServer: () => server.end("SIGKILL"),
    /** As a deployment does it. */
    endServer: () => server.end("SIGTERM"),
    startServer: start,
    /** As on a new machine with the same settings: what was kept in memory is lost too. */
    loseStore() {
      rmSync(keptFolder(dataDir)!, { recursive: true });
      rmSync(dataDir, { recursive: true });
      pinHostKey();
    },
  };
}

export const bearer = { authorization: `Bearer ${token}` };

/** Asks whichever server is there now, with the bearer. */
export function askerOf(server: () => RunningServer) {
  return async (method: string, path: string, body?: unknown, signal?: AbortSignal) => {
    const answer = await fetch(server().origin + path, {
      method,
      headers: bearer,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
}
