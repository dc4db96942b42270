import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { makeKey, startSshd } from "../test/doubles/sshd.ts";
import { breakglassHost, makeHost, startHost } from "../test/host/host.ts";
import { median } from "./pinned.ts";
import { print } from "./print.ts";

const rounds = 20;
const token = "a-token-that-is-long-enough-to-pass";

/**
 * From the tap (the POST of a cycle) to the first words of the hypervisor on an attached page: the real server, OpenSSH,
 * forced command and Job, beside a bare ssh with its handshake and beside the forced command alone.
 */
export async function benchTap(): Promise<void> {
  const host = await makeHost({ scale: 5, qmScale: 5 });
  const key = makeKey(host.dir, "id");
  const forced = `restrict,command="${breakglassHost} --config ${host.config} 102" ${key.publicKey}`;
  const sshd = await startSshd({ authorizedKeys: [forced], dir: host.dir });
  const known = `[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`;
  const dataDir = join(host.dir, "data");
  mkdirSync(dataDir, { mode: 0o700 });
  writeFileSync(join(dataDir, "known_hosts"), known);
  const server = spawn(process.execPath, ["src/server/main.mjs"], {
    env: {
      PATH: process.env["PATH"],
      HOME: host.dir,
      BREAKGLASS_LISTEN: "127.0.0.1:0",
      BREAKGLASS_DATA_DIR: dataDir,
      BREAKGLASS_PVE_HOST: `127.0.0.1:${sshd.port}`,
      BREAKGLASS_PVE_USER: sshd.user,
      BREAKGLASS_KEY_PATH: key.path,
      API_BEARER_TOKEN: token,
    },
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const ask = asker(await addressOf(server.stdout));
    const page = await attach(ask);
    const times: Record<"ours" | "bare" | "own", number[]> = { ours: [], bare: [], own: [] };
    for (let round = -2; round < rounds; round++) {
      const each = {
        ours: await tap(ask, page),
        bare: await firstWords(bareSsh(key.path, sshd, host.dir, `v2 cycle ${randomUUID()}`)),
        own: await firstWords(startHost(`v2 cycle ${randomUUID()}`, ["--config", host.config, "102"])),
      };
      if (round >= 0) for (const name of ["ours", "bare", "own"] as const) times[name].push(each[name]);
    }
    print("tap to the hypervisor's first words on the page", {
      ms: median(times.ours),
      baseline: "a bare ssh with its handshake, to its first words",
      baselineMs: median(times.bare),
      hostMs: median(times.own),
      limitMs: 150,
    });
  } finally {
    server.kill("SIGKILL");
    await sshd.stop();
    await host.end();
  }
}

type Ask = (method: string, path: string, body?: unknown) => Promise<Response>;

function asker(origin: string): Ask {
  return (method, path, body) =>
    fetch(origin + path, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
}

async function addressOf(stdout: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stdout })) {
    const address = /listens on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (address !== undefined) return `http://${address}`;
  }
  throw new Error("The server did not start.");
}

interface News {
  readonly operation: { readonly id: string; readonly settled_at?: string };
  readonly output?: object;
}

/** What a page hears: `until` resolves with the first Operation's frame that is wanted. */
async function attach(ask: Ask): Promise<{ until(wanted: (news: News) => boolean): Promise<void> }> {
  const { session_id } = (await (await ask("POST", "/api/session")).json()) as { session_id: string };
  const stream = await ask("GET", `/api/session/${session_id}/stream?watch=1`);
  const waiting = new Set<(news: News) => void>();
  const listen = async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream.body!) {
      const frames = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
      rest = frames.pop()!;
      for (const frame of frames) {
        const data = /^event: operation\ndata: (.*)$/m.exec(frame)?.[1];
        if (data !== undefined) for (const hear of waiting) hear(JSON.parse(data) as News);
      }
    }
  };
  // It ends with the server.
  void listen().catch(() => {});
  return {
    until: (wanted) =>
      new Promise((resolve) => {
        const hear = (news: News) => {
          if (!wanted(news)) return;
          waiting.delete(hear);
          resolve();
        };
        waiting.add(hear);
      }),
  };
}

async function tap(ask: Ask, page: Awaited<ReturnType<typeof attach>>): Promise<number> {
  const key = randomUUID();
  const words = page.until(({ operation, output }) => operation.id === key && output !== undefined);
  const end = page.until(({ operation }) => operation.id === key && operation.settled_at !== undefined);
  const begun = performance.now();
  void ask("POST", "/api/targets/devvm/operations", { verb: "cycle", key });
  await words;
  const ms = performance.now() - begun;
  await end;
  return ms;
}

function bareSsh(key: string, { port, user }: { port: number; user: string }, dir: string, words: string) {
  const options = ["BatchMode=yes", "StrictHostKeyChecking=no", `UserKnownHostsFile=${join(dir, "known")}`];
  const flags = options.flatMap((option) => ["-o", option]);
  const args = ["-F", "none", "-i", key, "-p", String(port), "-l", user, ...flags, "127.0.0.1", words];
  return spawn("ssh", args, { stdio: ["ignore", "pipe", "ignore"] });
}

/** Milliseconds to the first byte; resolves when the whole has ended, so that the next finds the machine free. */
async function firstWords(child: ReturnType<typeof spawn>): Promise<number> {
  const begun = performance.now();
  const ended = new Promise((resolve) => child.once("close", resolve));
  const ms = await new Promise<number>((resolve) => {
    child.stdout!.once("data", () => resolve(performance.now() - begun));
  });
  child.stdout!.resume();
  child.stderr?.resume();
  await ended;
  return ms;
}
