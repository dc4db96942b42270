import { delimiter, dirname } from "node:path";
import { start } from "../../process/start.ts";
import { foldersOf, makeFolders } from "./folders.ts";
import { guardLines } from "./lines.ts";
import { descendants, endAll, tagged } from "./processes.ts";
import type { Cage, Order, Runner, RunnerOptions } from "./runner.ts";

/** The programs of the machine; the Broker's folder and our Node stand before them. */
const systemPath = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/**
 * No confinement: the agent has the rights of this process. What a Turn leaves is found by a tag in its environment and by
 * its descent; a program that sheds both escapes, which only bubblewrap prevents.
 */
export function bareRunner(options: Omit<RunnerOptions, "isolation">): Runner {
  return {
    isolation: "none",
    problem: async () => null,
    places({ session, executable, door }) {
      const { workspace, memory, temporary } = foldersOf(options.sessionsDir, session);
      const path = [door.binDir, dirname(process.execPath), ...systemPath].join(delimiter);
      return { executable, workspace, memory, temporary, path, brokerSocket: door.socketPath };
    },
    start(order) {
      const folders = foldersOf(options.sessionsDir, order.session);
      makeFolders(folders);
      return bareCage(order, folders.workspace);
    },
  };
}

function bareCage(order: Order, cwd: string): Cage {
  const tag = `BG_SESSION=${order.session}`;
  const running = start({
    file: order.executable,
    args: order.args,
    env: { ...order.env, BG_SESSION: order.session },
    cwd,
    stdin: "pipe",
  });
  const agent = running.child.pid;
  let killed: Promise<void> | undefined;
  const linux = process.platform === "linux";
  const find = () => (agent === undefined ? [] : [...new Set([...descendants(agent), ...tagged(tag)])]);
  // Once only: later the number may be another's.
  const kill = () => (killed ??= killAll());
  return {
    running: {
      ...running,
      stdout: guardLines(running.stdout, { first: () => {}, tooLong: () => void kill() }),
    },
    sweep: async () => !linux || endAll(() => find().filter((pid) => pid !== agent)),
    kill,
  };

  async function killAll(): Promise<void> {
    if (linux) await endAll(find);
    running.kill("SIGKILL");
    await running.exit;
  }
}
