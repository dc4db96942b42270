import { chmodSync, existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { RefusedHostKey, TargetStatus } from "../../src/protocol/targets.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";
import { startServer } from "./server.ts";

const token = "a-token-that-is-long-enough-to-pass";

test("a hypervisor's key is accepted by one request, first seen and changed, and both are on record", async () => {
  const dir = scratchFolder();
  const key = makeKey(dir, "key");
  const gate = join(dir, "gate");
  writeFileSync(gate, `#!/bin/bash\necho "$SSH_ORIGINAL_COMMAND" >> ${dir}/asked\necho 'status: running'\n`);
  chmodSync(gate, 0o755);
  const authorizedKeys = [`restrict,command="${gate}" ${key.publicKey}`];
  let sshd = await startSshd({ authorizedKeys, dir });
  onTestFinished(() => sshd.stop());
  const HOME = scratchFolder();
  const env = {
    HOME,
    API_BEARER_TOKEN: token,
    BREAKGLASS_KEY_PATH: key.path,
    BREAKGLASS_PVE_HOST: `127.0.0.1:${sshd.port}`,
    BREAKGLASS_PVE_USER: sshd.user,
    BREAKGLASS_DEVVM_HOST: "127.0.0.1:1",
  };
  const serve = async () => {
    const server = await startServer({ env, demo: false });
    const ask = async (method: string, path: string, body?: unknown) => {
      const answer = await fetch(server.origin + path, {
        method,
        headers: { authorization: `Bearer ${token}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: (await answer.json()) as unknown };
    };
    return { ...server, ask };
  };
  type Server = Awaited<ReturnType<typeof serve>>;
  const refused = async ({ ask }: Server) => {
    const [target] = (await ask("GET", "/api/targets")).body as TargetStatus[];
    return target!.refused_host_keys?.[0];
  };
  const refusedSoon = async (server: Server) => {
    await expect.poll(() => refused(server), { timeout: 30_000 }).toBeDefined();
    return (await refused(server))!;
  };
  const accept = ({ ask }: Server, { side, shown }: RefusedHostKey) =>
    ask("POST", "/api/targets/devvm/host-key", { side, fingerprint: shown });

  const server = await serve();
  const first = await refusedSoon(server);
  expect(first).toMatchObject({ side: "hypervisor", known: null });
  expect(await server.ask("POST", "/api/pve/cycle")).toMatchObject({
    status: 502,
    body: { rejected: true, stderr: expect.stringContaining("Nothing was sent") },
  });
  expect(existsSync(join(dir, "asked"))).toBe(false);
  expect((await accept(server, first)).status).toBe(200);
  expect((await server.ask("POST", "/api/pve/status")).status).toBe(200);
  expect(await refused(server)).toBe(undefined);
  await server.end("SIGTERM");

  const { port } = sshd;
  await sshd.stop();
  for (const name of ["host_key", "host_key.pub"]) rmSync(join(dir, name));
  sshd = await startSshd({ authorizedKeys, dir, port });
  const again = await serve();
  const second = await refusedSoon(again);
  expect(second).toMatchObject({ side: "hypervisor", known: first.shown });
  expect((await accept(again, second)).status).toBe(200);
  expect((await again.ask("POST", "/api/pve/status")).status).toBe(200);
  await again.end("SIGTERM");

  const store = await openFiles({ directory: join(HOME, ".local/state/breakglass"), report: () => {} });
  onTestFinished(() => store.close());
  const records = (await store.read("audit", -1, 100)) as readonly { action?: string; detail?: unknown }[];
  const details = records.filter(({ action }) => action === "accept host key").map(({ detail }) => detail);
  expect(details).toEqual([
    { side: "hypervisor", old: null, new: first.shown },
    { side: "hypervisor", old: first.shown, new: second.shown },
  ]);
});
