import { existsSync } from "node:fs";
import { run } from "../../process/run.ts";
import { start, type Running } from "../../process/start.ts";
import { fences, inside, insideOf, machine } from "./fence.ts";
import { foldersOf, makeFolders } from "./folders.ts";
import { lifeOf } from "./life.ts";
import { children, descendants, endAll, innerPid, living } from "./processes.ts";
import { bounded } from "./rlimits.ts";
import type { Cage, Runner, RunnerOptions } from "./runner.ts";

/** A trial run takes about 15 ms; beyond this bubblewrap counts as not working. */
const trialMs = 10_000;
const trialOutputBytesMax = 4096;
/** Where distributions put it; never searched for in a PATH that others may have set. */
const bubblewrapPaths = ["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];

const says =
  "Each session's agent is in a bubblewrap cage of its own: it sees no other process or session, no key and nothing of this server. " +
  "Not confined: its network, which is this machine's, and the model's credential, which is in its environment.";

/** One cage per Session: a pid namespace of its own, so that nothing leaves it and its end is the end of everything in it. */
export function bubblewrapRunner(
  options: Omit<RunnerOptions, "isolation"> & { readonly bubblewrap?: string },
): Runner {
  const bwrap = [options.bubblewrap ?? bubblewrapPaths].flat().find((path) => existsSync(path));
  const outside = machine(options.readable);
  const trial = tryFences(bwrap, outside);
  let fence: readonly string[] | undefined;
  return {
    isolation: () => ({ kind: "bubblewrap", says }),
    bringsAgent: false,
    async problem() {
      const tried = await trial;
      if ("problem" in tried) return tried.problem;
      fence = tried.fence;
      return null;
    },
    places: () => inside,
    start(order) {
      if (bwrap === undefined || fence === undefined)
        throw new Error("A cage was asked for before problem() answered null.");
      const folders = foldersOf(options.sessionsDir, order.session);
      makeFolders(folders);
      const walls = [...fence, ...outside, ...insideOf(order, folders)];
      // The environment goes through bwrap's own: in its argv every user of the machine could read it.
      return cage(
        start({
          file: bwrap,
          args: [...walls, "--", ...bounded, inside.executable, ...order.args],
          env: order.env,
          cwd: "/",
          stdin: "pipe",
        }),
      );
    },
    // What bwrap started dies with bwrap, and bwrap with us (--die-with-parent).
    close: async () => {},
  };
}

/** bwrap (outside) > pid 1 of the namespace > pid 2, the agent, and whatever lost its parent. */
function cage(running: Running): Cage {
  let top: number | undefined;
  let killed: Promise<void> | undefined;
  const first = () => (top ??= running.child.pid === undefined ? undefined : children(running.child.pid)[0]);
  // Once only: later the numbers may be those of others.
  const kill = () => (killed ??= killAll());
  return {
    // Looked up while it surely lives: when bwrap outside has gone, pid 1, dying, is nobody's child that could be found.
    running: lifeOf(running, { first, tooLong: () => void kill() }),
    async sweep() {
      const from = first();
      return from === undefined || endAll(() => descendants(from).filter((pid) => innerPid(pid) !== 2));
    },
    kill,
  };

  async function killAll(): Promise<void> {
    const from = first();
    // When pid 1 of a namespace dies the kernel ends all others first; then bwrap outside sees it and exits.
    if (from !== undefined) await endAll(() => living([from]));
    // Its output too: who does not read it must not keep us from seeing its end.
    running.abandon();
    await running.exit;
  }
}

type Tried = { readonly fence: readonly string[] } | { readonly problem: string };

/** The strictest fence that works here, by really running a program in it. */
async function tryFences(bwrap: string | undefined, outside: readonly string[]): Promise<Tried> {
  const mend =
    "Install bubblewrap and allow user namespaces, or set BREAKGLASS_ISOLATION=none to let it run with the server's own rights. " +
    "The power buttons work without the agent.";
  if (bwrap === undefined)
    return { problem: `The agent cannot be confined: bubblewrap is not installed. ${mend}` };
  let said = "";
  for (const fence of fences) {
    const trial = await run(
      { file: bwrap, args: [...fence, ...outside, "--", "/bin/true"], env: {}, cwd: "/" },
      { outputBytesMax: trialOutputBytesMax, deadlineMs: trialMs },
    );
    if (trial.exit.kind === "exited" && trial.exit.code === 0) return { fence };
    said ||= trial.stderr.trim() || (trial.deadlinePassed ? "no answer in 10 s" : "no reason given");
  }
  return { problem: `The agent cannot be confined: bubblewrap does not work here (${said}). ${mend}` };
}
