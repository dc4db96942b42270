import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { makeRuntimeFolder } from "../../ssh/runtime-folder.ts";
import { missing } from "../installed.ts";
import { bubblewrapRunner } from "./bubblewrap.ts";
import { namespacesHere } from "./namespaces.ts";
import { bareRunner } from "./none.ts";
import { endAll, ofAccount } from "./processes.ts";
import type { Runner } from "./runner.ts";
import { serveRunner } from "./served.ts";
import { wireVersion } from "./wire.ts";

export interface ProgramOptions {
  readonly socketPath: string;
  /** What its agents keep, one folder a Session, 0700. */
  readonly sessionsDir: string;
  /** Folder with the `ssh` and `scp` that stand first in the agent's PATH. */
  readonly binDir: string;
  /** The agent's executable; undefined: it is not installed here. */
  readonly executable: string | undefined;
  /** Further files and folders that agents may read, at the same paths. */
  readonly readable: readonly string[];
  /** "auto": bubblewrap where it works, else no cage. */
  readonly cage: "auto" | "bubblewrap" | "none";
  /** Nothing else runs as this account: whatever of it is left when no agent lives, ends. */
  readonly ownAccount: boolean;
  readonly log: (text: string) => void;
}

export interface RunnerProgram {
  /** Ends all its cages, and what else it started. */
  close(): Promise<void>;
}

/** The runner as a program of its own. Rejects with a sentence when it cannot listen. */
export async function openRunnerProgram(options: ProgramOptions): Promise<RunnerProgram> {
  const { socketPath, sessionsDir, binDir, executable, log } = options;
  const uid = process.getuid?.() ?? -1;
  if (options.ownAccount && uid <= 0) throw new Error("It does not run as an account of its own.");
  const folder = makeRuntimeFolder();
  let keeper: number | undefined;
  const { runner, isolation, problem } = await choose(options, (pid) => (keeper = pid));
  mkdirSync(sessionsDir, { recursive: true, mode: 0o700 });
  const leftover = () => (options.ownAccount ? ofAccount(uid).filter((pid) => pid !== keeper) : []);
  const served = serveRunner({
    runner,
    log,
    // Looked at each time: an agent may begin while the last of another is cleared away.
    onEmpty: () => void endAll(() => (served.empty() ? leftover() : [])),
    welcome: {
      version: wireVersion,
      isolation,
      problem: problem ?? missing(executable),
      uid,
      namespaces: namespacesHere(),
      sessionsDir,
      doorsDir: dirname(folder.path("x")),
      binDir,
      nodeDir: dirname(process.execPath),
      executable: executable ?? "",
    },
  });
  try {
    await listen(served.server, socketPath);
  } catch (error) {
    folder.remove();
    throw error;
  }
  return {
    async close() {
      await served.close();
      await runner.close();
      await endAll(leftover);
      folder.remove();
    },
  };
}

async function choose(options: ProgramOptions, onKeeper: (pid: number | undefined) => void) {
  const bare = (): Runner => bareRunner({ ...options, onKeeper });
  if (options.cage === "none") return { runner: bare(), isolation: "none" as const, problem: null };
  const runner = bubblewrapRunner(options);
  const problem = await runner.problem();
  if (problem === null || options.cage === "bubblewrap")
    return { runner, isolation: "bubblewrap" as const, problem };
  options.log(`no cage: ${problem}`);
  return { runner: bare(), isolation: "none" as const, problem: null };
}

/** Of the account and its group: where it lies says who may reach it. */
const socketMode = 0o660;

async function listen(server: Server, path: string): Promise<void> {
  if (await answers(path)) throw new Error(`Another runner listens on ${path}.`);
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, socketMode);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });
}
