import { chownSync, existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { userInfo } from "node:os";
import { systemPath } from "../../process/programs.ts";
import { run } from "../../process/run.ts";
import { start, type Running } from "../../process/start.ts";
import { makeRuntimeFolder, type RuntimeFolder } from "../../ssh/runtime-folder.ts";
import { endAll, isTagged, nameOf, ofAccount } from "./processes.ts";
import { cageOf, remoteRunner } from "./remote.ts";
import { bounded } from "./rlimits.ts";
import type { Runner } from "./runner.ts";

/** `id`, `test`, and the program's first word take milliseconds; past this they are killed and the problem is told. */
const stepMsMax = 10_000;
const outputBytesMax = 16 * 1024;
/** The program ends by itself when its stdin does; past this it is killed, and what is left of the account with it. */
const closeMsMax = 2_000;

/** util-linux. Besides the account it takes away what a setuid program or a capability could give back. */
const setpriv = "/usr/bin/setpriv";
const root = join(import.meta.dirname, "../../../..");

export interface AccountOptions {
  readonly account: string;
  readonly sessionsDir: string;
  readonly readable: readonly string[];
  readonly executable?: string | undefined;
  /** Where Breakglass is installed; the account must be able to read it. */
  readonly installed?: string;
  /** Of the program; default: bubblewrap inside where it works. */
  readonly cage?: "auto" | "bubblewrap" | "none";
}

interface Who {
  readonly uid: number;
  readonly gid: number;
}

/** A runner program under another account of this machine, started, watched and ended by a server that is root. */
export function accountRunner(options: AccountOptions): Runner {
  const { account, sessionsDir } = options;
  const name = `the runner of the account ${account}`;
  const mark = { BG_RUNNER_OF: sessionsDir };
  let folder: RuntimeFolder | undefined;
  let program: { readonly running: Running; readonly who: Who; readonly remote: Runner } | undefined;
  let starting: Promise<string | null> | undefined;
  let closed = false;
  return {
    isolation: () =>
      program?.remote.isolation() ?? {
        kind: "account",
        says: `The agent is to run as the account ${account}; ${name} is not there now.`,
      },
    bringsAgent: true,
    async problem() {
      if (program !== undefined) return program.remote.problem();
      return (starting ??= begin().finally(() => (starting = undefined)));
    },
    places: (errand) => known().places(errand),
    start: (order) => known().start({ ...order, env: { ...order.env, ...mark } }),
    async close() {
      closed = true;
      await starting;
      const ending = program;
      if (ending === undefined) return;
      await ending.remote.close();
      ending.running.stdin?.end();
      const timer = setTimeout(() => ending.running.kill("SIGKILL"), closeMsMax);
      await ending.running.exit;
      clearTimeout(timer);
      await endAll(() => ofAccount(ending.who.uid));
      folder?.remove();
    },
  };

  function known(): Runner {
    if (program === undefined)
      throw new Error(`${name[0]?.toUpperCase()}${name.slice(1)} is not there. ${mend}`);
    return program.remote;
  }

  async function begin(): Promise<string | null> {
    const who = await lookUp(account);
    if (typeof who === "string") return who;
    const strangers = ofAccount(who.uid).filter((pid) => !isTagged(pid, `BG_RUNNER_OF=${sessionsDir}`));
    if (strangers[0] !== undefined)
      return `The agent cannot run as ${account}: others do (${nameOf(strangers[0])}, pid ${strangers[0]}), and whatever runs as that account is ended with the agent. Make an account for it alone: useradd --system --no-create-home breakglass-agent. ${mend}`;
    // What a server that was killed has left.
    await endAll(() => ofAccount(who.uid));
    const reached = takeSessionsDir(sessionsDir, account, who) ?? (await reach(who));
    if (reached !== null || closed) return reached;
    return launch(who);
  }

  /** Null, or what the account cannot reach. */
  async function reach(who: Who): Promise<string | null> {
    const { node, main, bin } = installedAt(options.installed);
    const claude = options.executable === undefined ? [] : [options.executable];
    const script =
      'for f in "$@"; do [ -r "$f" ] && [ -x "$f" ] || echo "$f"; done; [ -r "$0" ] || echo "$0"; [ -w "$1" ] || echo "$1"';
    const args = [...as(who), "/bin/sh", "-c", script, main, sessionsDir, node, bin, ...claude];
    const seen = await run({ file: setpriv, args, env: {}, cwd: "/" }, limits);
    const [first] = seen.stdout.split("\n");
    if (first) return `The agent cannot run as ${account}: that account cannot use ${first}. ${readableMend}`;
    if (seen.exit.kind === "exited" && seen.exit.code === 0) return null;
    return `The agent cannot run as ${account}: setpriv failed (${seen.stderr.trim() || "no reason given"}). ${mend}`;
  }

  async function launch(who: Who): Promise<string | null> {
    folder ??= makeRuntimeFolder();
    const place = dirname(folder.path("x"));
    // 0700: root and this account reach it, and nobody else.
    chownSync(place, who.uid, who.gid);
    const socketPath = join(place, "runner.sock");
    const { node, main } = installedAt(options.installed);
    const claude = options.executable === undefined ? [] : ["--claude", options.executable];
    const running = start({
      file: setpriv,
      args: [
        ...as(who),
        ...bounded,
        node,
        main,
        "runner",
        "--socket",
        socketPath,
        "--sessions",
        sessionsDir,
        ...claude,
        "--cage",
        options.cage ?? "auto",
        "--own-account",
        ...options.readable.flatMap((path) => ["--readable", path]),
      ],
      env: { PATH: systemPath, HOME: sessionsDir, LANG: "C.UTF-8", ...mark },
      cwd: "/",
      stdin: "pipe",
    });
    const said = await firstWord(running);
    if (said !== null) {
      running.kill("SIGKILL");
      return `The agent cannot run as ${account}: its runner did not start (${said}). ${mend}`;
    }
    const remote = remoteRunner({
      socketPath,
      name,
      says: (welcome) => ({
        kind: "account",
        says: `The agent runs ${welcome === undefined ? "" : cageOf(welcome)} That is the account ${account} of this machine, which owns nothing of this server. ${open}`,
      }),
      onHung: async () => running.kill("SIGKILL"),
    });
    program = { running, who, remote };
    void running.exit.then(async () => {
      // Killed, it could not do so itself. Only then may another begin.
      await endAll(() => ofAccount(who.uid));
      program = undefined;
    });
    return remote.problem();
  }
}

/** Words before a command that has it run as that account, with nothing of ours; or why that cannot be. Changes nothing. */
export async function asAccount(account: string): Promise<readonly string[] | string> {
  const who = await lookUp(account);
  return typeof who === "string" ? who : [setpriv, ...as(who)];
}

const limits = { outputBytesMax, deadlineMs: stepMsMax };
const mend =
  "Or set BREAKGLASS_ISOLATION to bubblewrap, or to runner:/socket (docs/configuration.md). The power buttons work without the agent.";
const readableMend = `Install Breakglass, and set BREAKGLASS_SESSIONS_DIR, where every account may go (/opt/breakglass, /var/lib/breakglass-agent). ${mend}`;
const open =
  "Not confined: the network, which is this machine's, and the model's credential, which is in its environment.";

const as = ({ uid, gid }: Who) => [
  `--reuid=${uid}`,
  `--regid=${gid}`,
  "--clear-groups",
  "--no-new-privs",
  "--inh-caps=-all",
  "--bounding-set=-all",
  "--",
];

function installedAt(installed = root) {
  return {
    node: process.execPath.replace(root, installed),
    main: join(installed, "src/cli/main.mjs"),
    bin: join(installed, "src/server/broker/bin"),
  };
}

async function lookUp(account: string): Promise<Who | string> {
  const cannot = `The agent cannot run as ${account}:`;
  if (process.getuid?.() !== 0)
    return `${cannot} only a server that runs as root can start it so, and this one runs as ${userInfo().username}. ${mend}`;
  if (!existsSync(setpriv)) return `${cannot} there is no ${setpriv}. Install util-linux. ${mend}`;
  const ask = async (what: "-u" | "-g") => {
    const { exit, stdout } = await run({ file: "/usr/bin/id", args: [what, "--", account], env: {} }, limits);
    return exit.kind === "exited" && exit.code === 0 ? Number(stdout) : null;
  };
  const [uid, gid] = await Promise.all([ask("-u"), ask("-g")]);
  if (uid === null || gid === null)
    return `${cannot} there is no such account. Make it: useradd --system --no-create-home ${account}. ${mend}`;
  if (uid === 0 || gid === 0)
    return `${cannot} it is root, or of root's group. Name one that owns nothing. ${mend}`;
  return { uid, gid };
}

/** Made for the account where there is none; one that is another's is not taken. */
function takeSessionsDir(folder: string, account: string, { uid, gid }: Who): string | null {
  try {
    const there = statSync(folder, { throwIfNoEntry: false });
    if (there === undefined) {
      mkdirSync(folder, { mode: 0o700 });
      chownSync(folder, uid, gid);
    } else if (there.uid !== uid)
      return `The agent cannot run as ${account}: ${folder} belongs to another. Give it to the account (chown -R ${account} ${folder}), or set BREAKGLASS_SESSIONS_DIR to a folder of its own. ${mend}`;
    return null;
  } catch (error) {
    return `The agent cannot run as ${account}: ${folder} cannot be made (${(error as Error).message}). ${readableMend}`;
  }
}

/** Null when the program listens; otherwise why not. */
async function firstWord({ stdout, stderr, exit }: Running): Promise<string | null> {
  let said = "";
  stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-outputBytesMax)));
  const ready = new Promise<null>((resolve) => stdout.once("data", () => resolve(null)));
  const passed = Promise.withResolvers<string>();
  const timer = setTimeout(() => passed.resolve(`no answer in ${stepMsMax / 1_000} s`), stepMsMax);
  const ended = exit.then(() => said.trim().split("\n").at(-1) || "it said nothing");
  return Promise.race([ready, passed.promise, ended]).finally(() => clearTimeout(timer));
}
