import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { forget, startServer } from "../e2e/server.ts";
import { isRoot, mountDisk, recordOf, wholeRecord } from "./disk.ts";
import { bearerToken, done, off, startMachine, type Machine } from "./machine.ts";

const timeout = 120_000;

interface Running {
  /** Resolves when this is on stdout or stderr. */
  said(text: string): Promise<void>;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  interrupt(): void;
}

/** `breakglass verb …` as a process of its own. */
function runVerb(env: Readonly<Record<string, string>>, ...args: string[]): Running {
  const child = spawn(process.execPath, ["src/cli/main.mjs", "verb", ...args], {
    env: { PATH: process.env["PATH"], ...env },
  });
  let [stdout, stderr] = ["", ""];
  const listeners = new Set<() => void>();
  const told = () => [...listeners].forEach((listener) => listener());
  child.stdout.on("data", (chunk: Buffer) => ((stdout += chunk.toString()), told()));
  child.stderr.on("data", (chunk: Buffer) => ((stderr += chunk.toString()), told()));
  const closed = once(child, "close") as Promise<[number | null]>;
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await closed;
  });
  return {
    ended: closed.then(([code]) => ({ code, stdout, stderr })),
    interrupt: () => void child.kill("SIGINT"),
    said: (text) =>
      new Promise((resolve) => {
        const look = () => {
          if (!(stdout + stderr).includes(text)) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
      }),
  };
}

async function place(machine: Machine, dataDir = scratchFolder()) {
  const env = { ...machine.env, BREAKGLASS_DATA_DIR: dataDir };
  machine.knownIn(dataDir);
  onTestFinished(() => forget(dataDir));
  return { env, dataDir };
}

describe("while the server runs", () => {
  test(
    "a verb goes through it: live output, its lock, its record, the account as the actor",
    { timeout },
    async () => {
      const machine = await startMachine();
      const { env, dataDir } = await place(machine);
      const server = await startServer({ demo: false, env });
      const verb = runVerb(env, "cycle");
      const call = await machine.next();
      call.say("Stopping.");
      // It is shown while the job runs.
      await verb.said("Stopping.\n");

      const other = await runVerb(env, "stop").ended;
      expect(other).toMatchObject({
        code: 75,
        stdout: "",
        stderr: expect.stringMatching(/cycle by cli:.* is under way/),
      });

      call.end(done);
      const { code, stdout } = await verb.ended;
      expect([code, stdout]).toEqual([0, "Stopping.\n"]);
      const history = await fetch(`${server.origin}/api/targets/devvm/operations`, {
        headers: { authorization: `Bearer ${bearerToken}` },
      });
      const [operation] = (await history.json()) as Operation[];
      expect(operation).toMatchObject({ verb: "cycle", by: expect.stringMatching(/^cli:./), durable: true });
      await server.end("SIGTERM");
      expect(recordOf(dataDir, operation!.id)).toEqual(wholeRecord);
    },
  );

  test("its exit code is the hypervisor's, and 0 for nothing but done", { timeout }, async () => {
    const machine = await startMachine();
    const { env } = await place(machine);
    await startServer({ demo: false, env });
    const ends = [
      [off, 6, /The machine is OFF/],
      [{ result: "unknown", code: 5, state: "unknown" }, 5, /Not known/],
      // 0 without the goal seen is no success.
      [{ ...done, state: "stopped" }, 255, /Not known/],
    ] as const;
    for (const [end, expected, words] of ends) {
      const verb = runVerb(env, "cycle");
      (await machine.next()).end(end);
      const { code, stderr } = await verb.ended;
      expect([code, stderr]).toEqual([expected, expect.stringMatching(words)]);
    }
    const verb = runVerb(env, "cycle", "--json");
    (await machine.next()).end(done);
    const { code, stdout } = await verb.ended;
    expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ verb: "cycle", exit_code: 0 })]);
    expect(await runVerb(env, "status").ended).toMatchObject({ code: 0, stdout: "status: running\n" });
    expect(await runVerb(env, "stop", "--target", "other").ended).toMatchObject({ code: 2, stdout: "" });
    expect(await runVerb(env, "stop", "now").ended).toMatchObject({ code: 64, stdout: "" });
  });

  test("Ctrl-C ends the watching, says that the job goes on, and it does", { timeout }, async () => {
    const machine = await startMachine();
    const { env } = await place(machine);
    const server = await startServer({ demo: false, env });
    const verb = runVerb(env, "cycle");
    const call = await machine.next();
    call.say("Stopping.");
    await verb.said("Stopping.");
    verb.interrupt();
    const { code, stderr } = await verb.ended;
    expect([code, stderr]).toEqual([
      130,
      expect.stringMatching(/cycle on devvm goes on if it was sent \(operation .*\/rescue\/operation\//),
    ]);
    const id = /operation ([0-9a-f-]{36})/.exec(stderr)?.[1];
    call.end(done);
    for (let [after, settled] = [0, false]; !settled;) {
      const answer = await fetch(`${server.origin}/api/operations/${id}?after=${after}&wait=25`, {
        headers: { authorization: `Bearer ${bearerToken}` },
      });
      const { output, outcome } = (await answer.json()) as Operation;
      after += output.length;
      settled = outcome?.kind === "done";
    }
  });

  test(
    "when the server dies while it waits, it says so and asks with the same key over SSH",
    { timeout },
    async () => {
      const machine = await startMachine();
      const { env, dataDir } = await place(machine);
      const server = await startServer({ demo: false, env });
      const verb = runVerb(env, "cycle");
      const call = await machine.next();
      call.say("Stopping.");
      await verb.said("Stopping.");
      await server.end("SIGKILL");
      await verb.said("goes straight over SSH");
      // A host that knows jobs by their key follows the one that runs; one that does not is asked anew.
      const second = call.job === null ? await machine.next() : call;
      second.end(done);
      const { code, stderr } = await verb.ended;
      expect([code, stderr]).toEqual([0, expect.stringContaining("does not answer any more")]);
      const [id] = readdirSync(join(dataDir, "streams", "operation")).map((name) => name.replace(".sse", ""));
      const again = await startServer({ demo: false, env });
      await again.end("SIGTERM");
      expect(recordOf(dataDir, id!)).toMatchObject({
        index: expect.arrayContaining(["requested", "settled"]),
        audit: expect.arrayContaining(["verb cycle: done"]),
      });
      expect(machine.calls.filter(({ job }) => job !== null && job !== id)).toEqual([]);
    },
  );
});

describe("without a server", () => {
  test("a verb goes straight over SSH, and the next start records it", { timeout }, async () => {
    const machine = await startMachine();
    const { env, dataDir } = await place(machine);
    const verb = runVerb(env, "cycle");
    const call = await machine.next();
    call.say("Stopping.");
    await verb.said("Stopping.\n");
    call.end(done);
    const { code, stdout, stderr } = await verb.ended;
    expect([code, stdout]).toEqual([0, "Stopping.\n"]);
    expect(stderr).toContain(`It is spooled in ${join(dataDir, "spool")}`);
    const [file] = readdirSync(join(dataDir, "spool"));
    const id = file!.replace(".jsonl", "");
    const server = await startServer({ demo: false, env });
    const answer = await fetch(`${server.origin}/api/operations/${id}`, {
      headers: { authorization: `Bearer ${bearerToken}` },
    });
    expect(await answer.json()).toMatchObject({
      by: expect.stringMatching(/^cli:./),
      output: expect.stringContaining("Stopping."),
    });
    await server.end("SIGTERM");
    expect(recordOf(dataDir, id)).toEqual(wholeRecord);
    expect(readdirSync(join(dataDir, "spool"))).toEqual([]);
  });

  test("it needs no data directory: then the spool is in memory", { timeout }, async () => {
    const machine = await startMachine();
    const { env, dataDir } = await place(machine, join(scratchFolder(), "file"));
    writeFileSync(dataDir, "a file where a folder should be");
    const verb = runVerb(env, "cycle");
    const call = await machine.next();
    call.say("Stopping.");
    call.end(done);
    const { code, stderr } = await verb.ended;
    expect(code).toBe(0);
    const folder = /spooled in (\S+),/.exec(stderr)?.[1] ?? "";
    const id = readdirSync(folder)[0]!.replace(".jsonl", "");
    rmSync(dataDir);
    await (await startServer({ demo: false, env })).end("SIGTERM");
    expect(recordOf(dataDir, id)).toEqual(wholeRecord);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a machine that was not reached is no success", { timeout }, async () => {
    const machine = await startMachine();
    const { env } = await place(machine);
    const { code, stderr } = await runVerb({ ...env, BREAKGLASS_PVE_HOST: "127.0.0.1:1" }, "cycle").ended;
    expect([code, stderr]).toEqual([2, expect.stringContaining("Refused. Nothing was done.")]);
  });

  test.skipIf(!isRoot)(
    "with a data directory that hangs (takes root) it works, and is recorded later",
    { timeout },
    async () => {
      const [machine, disk] = [await startMachine(), mountDisk()];
      const { env } = await place(machine, disk.path);
      disk.freeze();
      const verb = runVerb(env, "cycle");
      onTestFinished(() => disk.thaw());
      const call = await machine.next();
      call.say("Stopping.");
      call.end(done);
      // It ends while the disk still hangs: a code, not a signal's death.
      await verb.said("The machine is running.");
      disk.thaw();
      const { code, stderr } = await verb.ended;
      expect(code).toBe(0);
      const folder = /spooled in (\S+),/.exec(stderr)?.[1] ?? "";
      expect(folder).not.toContain(disk.path);
      const id = readdirSync(folder)[0]!.replace(".jsonl", "");
      await (await startServer({ demo: false, env })).end("SIGTERM");
      expect(recordOf(disk.path, id)).toEqual(wholeRecord);
    },
  );
});
