import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { parseReadyLine, type DemoReady } from "../../demo/ready.ts";
import { start } from "./process/start.ts";

export interface Demo extends DemoReady {
  /** Asks the simulated machine to do something to itself: "wedge". Rejects with a sentence. */
  readonly act: (what: "wedge") => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Until the demo machine answers; then it is ended and the reason is told. */
const readyMs = 30_000;
const actMs = 5_000;
const stderrCharsMax = 2_000;

/** Starts the embedded Target as a process of its own, which ends with this one. Rejects with a sentence. */
export async function startDemo(path: string): Promise<Demo> {
  const running = start({
    file: process.execPath,
    args: [fileURLToPath(new URL("../../demo/main.mjs", import.meta.url))],
    env: { PATH: path },
    stdin: "pipe",
  });
  let said = "";
  running.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-stderrCharsMax)));
  const { promise, resolve, reject } = Promise.withResolvers<DemoReady>();
  const timer = setTimeout(() => reject(new Error(`it was not ready within ${readyMs / 1000} s`)), readyMs);
  void running.exit.then(() => reject(new Error(`it ended at once. ${said}`)));
  let text = "";
  running.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    const ready = text
      .split("\n")
      .slice(0, -1)
      .map(parseReadyLine)
      .find((line) => line !== undefined);
    if (ready) resolve(ready);
  });
  try {
    const ready = await promise;
    return {
      ...ready,
      act: (what) => act(ready.controlPath, what),
      async close() {
        running.stdin?.end();
        await running.exit;
      },
    };
  } catch (error) {
    running.kill("SIGKILL");
    throw new Error(`The demo machine did not start: ${(error as Error).message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function act(controlPath: string, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(controlPath);
    let text = "";
    socket.setTimeout(actMs, () => socket.destroy(new Error("The demo machine did not answer.")));
    socket.on("connect", () => socket.write(`${JSON.stringify({ do: what })}\n`));
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.on("error", reject);
    socket.on("close", () => {
      if (text.startsWith('{"ok":true')) resolve();
      else reject(new Error("The demo machine did not do it: it may be off. Start it, then try again."));
    });
  });
}
