import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { findClaude } from "../server/agent/claude/executable.ts";
import { openRunnerProgram, type ProgramOptions } from "../server/agent/runner/program.ts";
import { readConfig } from "../server/config/read.ts";

const usage = `breakglass runner --socket PATH   run agents here for a server whose BREAKGLASS_ISOLATION is runner:PATH
                                 [--sessions DIR] [--claude PATH] [--readable PATH]... [--cage auto|bubblewrap|none]
`;

/** Runs until a signal, or until stdin ends where `--own-account` is given: then its parent is gone. Answers the exit code. */
export async function runRunner(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const asked = await read(args, env);
  if (typeof asked === "string") {
    process.stderr.write(`${asked}\n${usage}`);
    return 2;
  }
  try {
    const program = await openRunnerProgram(asked);
    process.stdout.write(`The runner listens on ${asked.socketPath}.\n`);
    await toldToEnd(asked.ownAccount);
    await program.close();
    return 0;
  } catch (error) {
    process.stderr.write(`The runner did not start. ${(error as Error).message}\n`);
    return 1;
  }
}

function toldToEnd(parentHoldsStdin: boolean): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, () => resolve());
    if (parentHoldsStdin)
      process.stdin
        .once("end", resolve)
        .once("error", () => resolve())
        .resume();
  });
}

async function read(args: readonly string[], env: NodeJS.ProcessEnv): Promise<ProgramOptions | string> {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        socket: { type: "string" },
        sessions: { type: "string" },
        claude: { type: "string" },
        readable: { type: "string", multiple: true, default: [] },
        cage: { type: "string", default: "auto" },
        "own-account": { type: "boolean", default: false },
      },
    });
    const { socket, cage } = values;
    if (socket === undefined) return "--socket PATH is needed: where the server is to find it.";
    if (cage !== "auto" && cage !== "bubblewrap" && cage !== "none")
      return "--cage must be auto, bubblewrap or none.";
    const { config } = await readConfig(env, (path) => readFileSync(path, "utf8"));
    const sessionsDir = values.sessions ?? config?.sessionsDir;
    if (sessionsDir === undefined) return "--sessions DIR is needed: where its agents keep what is theirs.";
    return {
      socketPath: resolve(socket),
      sessionsDir: resolve(sessionsDir),
      executable: values.claude ?? config?.agent.claudePath ?? findClaude(),
      readable: values.readable,
      cage,
      ownAccount: values["own-account"],
      binDir: join(import.meta.dirname, "../server/broker/bin"),
      log: (text) => void process.stderr.write(`${text}\n`),
    };
  } catch (error) {
    return (error as Error).message;
  }
}
