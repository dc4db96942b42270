import { randomUUID } from "node:crypto";
import { delimiter, dirname } from "node:path";
import type { SessionId } from "../../../protocol/ids.ts";
import { systemPath } from "../../process/programs.ts";
import { start } from "../../process/start.ts";
import { foldersOf, makeFolders } from "./folders.ts";
import { openKeeper, type Keeper } from "./keeper.ts";
import { lifeOf } from "./life.ts";
import { descendants, endAll, tagged } from "./processes.ts";
import type { Cage, Order, Places, Runner, RunnerOptions } from "./runner.ts";

/** The programs of the machine; the Broker's folder and our Node stand before them. */
const machinePath = `${systemPath}:/usr/sbin:/sbin`;

const says =
  "Not confined: the agent has the server's own account, and can read all that the server can, its key included. " +
  "Its network is this machine's.";

/**
 * No confinement: the agent has the rights of this process. What a Turn leaves is found by a tag in its environment and by
 * its descent; a program that sheds both escapes, which only bubblewrap prevents.
 */
export function bareRunner(
  options: Omit<RunnerOptions, "isolation"> & { readonly onKeeper?: (pid: number | undefined) => void },
): Runner {
  let keeper: Keeper | undefined;
  return {
    isolation: () => ({ kind: "none", says }),
    bringsAgent: false,
    problem: async () => null,
    places: ({ session, executable, door }) =>
      barePlaces(session, {
        executable,
        sessionsDir: options.sessionsDir,
        binDir: door.binDir,
        nodeDir: dirname(process.execPath),
        brokerSocket: door.socketPath,
      }),
    start(order) {
      const folders = foldersOf(options.sessionsDir, order.session);
      makeFolders(folders);
      keeper ??= newKeeper();
      return bareCage(order, folders.workspace, keeper);
    },
    close: async () => keeper?.close(),
  };

  function newKeeper(): Keeper {
    const made = openKeeper();
    options.onKeeper?.(made.pid);
    return made;
  }
}

/** Where there is no cage a path is what it is. */
export function barePlaces(
  session: SessionId,
  at: {
    readonly executable: string;
    readonly sessionsDir: string;
    readonly binDir: string;
    readonly nodeDir: string;
    readonly brokerSocket: string;
  },
): Places {
  const { executable, brokerSocket } = at;
  const path = [at.binDir, at.nodeDir, machinePath].join(delimiter);
  return { executable, brokerSocket, path, ...foldersOf(at.sessionsDir, session) };
}

function bareCage(order: Order, cwd: string, keeper: Keeper): Cage {
  // Of this cage and no later one of its Session, which may begin while the last looks are taken.
  const cage = randomUUID();
  const tag = `BG_CAGE=${cage}`;
  const running = start({
    file: order.executable,
    args: order.args,
    env: { ...order.env, BG_CAGE: cage, ...keeper.mark },
    cwd,
    stdin: "pipe",
  });
  const agent = running.child.pid;
  let killed: Promise<void> | undefined;
  const linux = process.platform === "linux";
  const find = () => (agent === undefined ? [] : [...new Set([...descendants(agent), ...tagged(tag)])]);
  // Once only: later the number may be another's.
  const kill = () => (killed ??= killAll());
  // With the agent everything ends, or what it left would hold its output open. Its last words may still be on their way.
  running.child.once("exit", () => void (linux && endAll(find)));
  return {
    running: lifeOf(running, { first: () => {}, tooLong: () => void kill() }),
    sweep: async () => !linux || endAll(() => find().filter((pid) => pid !== agent)),
    kill,
  };

  async function killAll(): Promise<void> {
    if (linux) await endAll(find);
    // Its output too: who does not read it must not keep us from seeing its end.
    running.abandon();
    await running.exit;
  }
}
