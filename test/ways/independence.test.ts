import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import { findKeptFolder } from "../../src/server/ssh/runtime-folder.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { startServer, type RunningServer } from "../e2e/server.ts";
import { isRoot, mountDisk, recordOf, wholeRecord, type SickDisk } from "./disk.ts";
import { bearerToken, done, startMachine, type Machine } from "./machine.ts";

const timeout = 120_000;

/** A server for one machine. Whatever is frozen is thawed before it is ended: a process that waits for a disk cannot end. */
async function serve(
  machine: Machine,
  dataDir: string,
  options: {
    readonly disk?: SickDisk;
    readonly env?: Record<string, string>;
    readonly within?: string[];
  } = {},
) {
  const env = { ...machine.env, BREAKGLASS_DATA_DIR: dataDir, ...options.env };
  machine.knownIn(dataDir);
  const server = await startServer({ demo: false, env, ...(options.within && { within: options.within }) });
  onTestFinished(() => options.disk?.thaw());
  return { ...server, ask: asking(server) };
}

function asking({ origin }: RunningServer) {
  return async (method: string, path: string, body?: unknown) => {
    const response = await fetch(origin + path, {
      method,
      headers: { authorization: `Bearer ${bearerToken}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Operation };
  };
}

const spooled = (dataDir: string) => {
  const kept = findKeptFolder(dataDir);
  return [join(dataDir, "spool"), ...(kept === null ? [] : [join(kept, "spool")])].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith("write-check")) : [],
  );
};

/** A whole cycle, from the asking to the Outcome. */
async function cycle(ask: ReturnType<typeof asking>, machine: Machine): Promise<Operation> {
  const key = randomUUID();
  const asked = await ask("POST", "/api/targets/devvm/operations", { verb: "cycle", key });
  expect(asked.status).toBe(202);
  const call = await machine.next();
  expect(call.verb).toBe("cycle");
  call.say("Stopping.");
  call.end(done);
  for (let after = 0; ;) {
    const { body } = await ask("GET", `/api/operations/${key}?after=${after}&wait=25`);
    if (body.outcome !== undefined) return body;
    after += body.output.length;
  }
}

describe.skipIf(!isRoot)("with a file system of its own, which takes root", () => {
  test(
    "the disk hangs in the middle: verbs work while it does, and are in the record after it",
    { timeout },
    async () => {
      const [machine, disk] = [await startMachine(), mountDisk()];
      const server = await serve(machine, disk.path, { disk });
      disk.freeze();
      const operation = await cycle(server.ask, machine);
      expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
      expect(spooled(disk.path)).toEqual([`${operation.id}.jsonl`]);
      disk.thaw();
      expect(await server.end("SIGTERM")).toBe(0);
      await (await serve(machine, disk.path)).end("SIGTERM");
      expect(recordOf(disk.path, operation.id)).toEqual(wholeRecord);
      expect(spooled(disk.path)).toEqual([]);
    },
  );

  test(
    "the server is killed while the disk hangs: the next one records what was done",
    { timeout },
    async () => {
      const [machine, disk] = [await startMachine(), mountDisk()];
      const server = await serve(machine, disk.path, { disk });
      disk.freeze();
      const operation = await cycle(server.ask, machine);
      expect(operation.durable).toBe(false);
      server.child.kill("SIGKILL");
      disk.thaw();
      await server.end("SIGKILL");
      const again = await serve(machine, disk.path);
      expect((await again.ask("GET", `/api/operations/${operation.id}`)).body).toMatchObject({
        outcome: { kind: "done" },
        output: expect.stringContaining("Stopping."),
      });
      await again.end("SIGTERM");
      expect(recordOf(disk.path, operation.id)).toEqual(wholeRecord);
      expect(spooled(disk.path)).toEqual([]);
    },
  );

  test(
    "the disk hangs already at the start: verbs work, and it is taken when it answers",
    { timeout },
    async () => {
      const [machine, disk] = [await startMachine(), mountDisk()];
      await (await serve(machine, disk.path, { disk })).end("SIGTERM");
      disk.freeze();
      const server = await serve(machine, disk.path, { disk });
      const operation = await cycle(server.ask, machine);
      expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
      const notices = (await server.ask("GET", "/api/console")).body as unknown as {
        notices: { text: string }[];
      };
      expect(notices.notices.map(({ text }) => text).join()).toContain("its disk hangs");
      disk.thaw();
      await server.end("SIGTERM");
      await (await serve(machine, disk.path)).end("SIGTERM");
      expect(recordOf(disk.path, operation.id)).toEqual(wholeRecord);
      expect(spooled(disk.path)).toEqual([]);
    },
  );

  test("the disk is full: verbs work, and are recorded when there is space", { timeout }, async () => {
    const [machine, disk] = [await startMachine(), mountDisk()];
    const server = await serve(machine, disk.path);
    disk.fill();
    const operation = await cycle(server.ask, machine);
    expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
    await server.end("SIGKILL");
    disk.free();
    await (await serve(machine, disk.path)).end("SIGTERM");
    expect(recordOf(disk.path, operation.id)).toEqual(wholeRecord);
  });

  test("the disk is read-only: verbs work, and are recorded when it is mended", { timeout }, async () => {
    const [machine, disk] = [await startMachine(), mountDisk()];
    await (await serve(machine, disk.path)).end("SIGTERM");
    disk.readOnly(true);
    const server = await serve(machine, disk.path);
    const operation = await cycle(server.ask, machine);
    expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
    await server.end("SIGKILL");
    disk.readOnly(false);
    await (await serve(machine, disk.path)).end("SIGTERM");
    expect(recordOf(disk.path, operation.id)).toEqual(wholeRecord);
  });

  test("the folder of the agent's sessions hangs: verbs work", { timeout }, async () => {
    const [machine, disk, dataDir] = [await startMachine(), mountDisk(), scratchFolder()];
    disk.freeze();
    const env = { BREAKGLASS_SESSIONS_DIR: join(disk.path, "sessions") };
    const server = await serve(machine, dataDir, { disk, env });
    const { body } = await server.ask("POST", "/api/session");
    const id = String((body as unknown as Record<string, unknown>)["session_id"]);
    // A turn that begins to use it is what would hang.
    expect((await server.ask("POST", `/api/session/${id}/prompt`, { prompt: "hello" })).status).toBe(200);
    expect(await cycle(server.ask, machine)).toMatchObject({ outcome: { kind: "done" }, durable: true });
  });

  test("there are no names any more (DNS, hosts): verbs work", { timeout }, async () => {
    const [machine, dataDir, empty] = [await startMachine(), scratchFolder(), join(scratchFolder(), "empty")];
    writeFileSync(empty, "");
    const within = ["unshare", "-m", "sh", "-c"];
    const script = `mount --bind ${empty} /etc/resolv.conf && mount --bind ${empty} /etc/hosts && exec "$@"`;
    const server = await serve(machine, dataDir, { within: [...within, script, "sh"] });
    expect(await cycle(server.ask, machine)).toMatchObject({ outcome: { kind: "done" }, durable: true });
  });
});

test(
  "a data directory that is none: verbs work, and it is said that nothing is recorded",
  { timeout },
  async () => {
    const [machine, dataDir] = [await startMachine(), join(scratchFolder(), "file")];
    writeFileSync(dataDir, "a file where a folder should be");
    const server = await serve(machine, dataDir);
    const operation = await cycle(server.ask, machine);
    expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
    await server.end("SIGKILL");
    rmSync(dataDir);
    await (await serve(machine, dataDir)).end("SIGTERM");
    expect(recordOf(dataDir, operation.id)).toEqual(wholeRecord);
  },
);

test(
  "the store is lost in the middle: verbs work, and are recorded when it is back",
  { timeout },
  async () => {
    const [machine, dataDir] = [await startMachine(), scratchFolder()];
    const server = await serve(machine, dataDir);
    // What was the folder of streams is a file now: nothing can be opened or made in it.
    rmSync(join(dataDir, "streams"), { recursive: true });
    writeFileSync(join(dataDir, "streams"), "");
    const operation = await cycle(server.ask, machine);
    expect(operation).toMatchObject({ outcome: { kind: "done" }, durable: false });
    await server.end("SIGKILL");
    rmSync(join(dataDir, "streams"));
    await (await serve(machine, dataDir)).end("SIGTERM");
    expect(recordOf(dataDir, operation.id)).toEqual(wholeRecord);
  },
);

test("agent and model are gone: verbs work", { timeout }, async () => {
  const [machine, dataDir] = [await startMachine(), scratchFolder()];
  const env = {
    BREAKGLASS_CLAUDE: "/nonexistent/claude",
    BREAKGLASS_AGENT: "/nonexistent/agent.md",
    ANTHROPIC_BASE_URL: "http://127.0.0.1:9",
  };
  const server = await serve(machine, dataDir, { env });
  expect(await cycle(server.ask, machine)).toMatchObject({ outcome: { kind: "done" }, durable: true });
});
