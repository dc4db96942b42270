import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, startPinned } from "./pinned.ts";
import { print } from "./print.ts";

const rounds = 7;
/** Memory is read when the start's garbage has been collected or not, as it comes. */
const idleMs = 3_000;

/** Time until the first /health, and memory at rest, beside a bare Node that answers the same. */
export async function benchStart(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bg-bench-"));
  const bare = join(folder, "bare.ts");
  writeFileSync(
    bare,
    `import { createServer } from "node:http";
     const port: number = Number(process.env["BREAKGLASS_LISTEN"]?.split(":")[1]);
     createServer((_, response) => response.end("{}")).listen(port, "127.0.0.1");`,
  );
  try {
    const ours = await measure("src/server/main.mjs", join(folder, "data"));
    const baseline = await measure(bare, join(folder, "data"));
    print("cold start to /health", {
      ms: ours.ms,
      baseline: "bare Node with type stripping",
      baselineMs: baseline.ms,
      firstImplementationMs: 141,
    });
    print("idle memory", {
      MB: ours.megabytes,
      baseline: "bare Node with type stripping",
      baselineMB: baseline.megabytes,
      limitMB: 110,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(script: string, dataDir: string): Promise<{ ms: number; megabytes: number }> {
  const times: number[] = [];
  const sizes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const port = await freePort();
    const begun = performance.now();
    const child = startPinned(
      0,
      [script],
      {
        PATH: process.env["PATH"],
        HOME: dataDir,
        API_BEARER_TOKEN: "a-token-that-is-long-enough-to-pass",
        BREAKGLASS_LISTEN: `127.0.0.1:${port}`,
        BREAKGLASS_DATA_DIR: dataDir,
      },
      "ignore",
    );
    child.stdout!.resume();
    await healthy(port);
    times.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, idleMs));
    sizes.push(residentMB(child.pid!));
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }
  // The first start fills the compile cache.
  return { ms: median(times.slice(1)), megabytes: median(sizes.slice(1)) };
}

function residentMB(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1024;
}

async function healthy(port: number): Promise<void> {
  for (;;) {
    const ok = await new Promise<boolean>((resolve) => {
      get({ host: "127.0.0.1", port, path: "/health", agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      }).on("error", () => resolve(false));
    });
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
