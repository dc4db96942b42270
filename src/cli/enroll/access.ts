import { readFileSync } from "node:fs";
import { join } from "node:path";
import { run, type Finished } from "../../server/process/run.ts";
import { configText, type SshHost } from "../../server/ssh/config.ts";
import { openKeyAgent } from "../../server/ssh/key.ts";
import { refusal } from "../../server/ssh/refusal.ts";
import { makeRuntimeFolder } from "../../server/ssh/runtime-folder.ts";

/** Asks accounts with the server's own key and ssh configuration, a new connection each time. */
export interface Access {
  /** The line for authorized_keys, or why the key is of no use. */
  key(): Promise<{ readonly publicKey: string } | { readonly problem: string }>;
  ask(alias: string, question: Question): Promise<Finished>;
  /** Why nobody was logged in, when that is what the answer shows; null otherwise. */
  refusedLogin(alias: string, answer: Finished): string | null;
  close(): Promise<void>;
}

interface Question {
  /** Both are told everything else in the same way. */
  readonly program?: "ssh" | "sftp";
  /** Empty: what an account gives to who asks for nothing, a shell. */
  readonly command: readonly string[];
  readonly options?: readonly string[];
  readonly input?: string;
}

/** Kept of each answer. */
const answerBytesMax = 256 * 1024;
/** A `status` may take 5 s, connecting 10 s; then the answer counts as unclear. */
const answerMsMax = 30_000;

export async function openAccess(deps: {
  readonly hosts: readonly SshHost[];
  readonly keyPath: string;
  /** Where the server keeps known_hosts. */
  readonly dataDir: string;
  readonly path: string;
}): Promise<Access> {
  const { hosts, keyPath, dataDir, path } = deps;
  const folder = makeRuntimeFolder();
  const env = { PATH: path, LC_ALL: "C", SSH_ASKPASS_REQUIRE: "never" };
  const paths = {
    publicKey: folder.path("key.pub"),
    agentSocket: folder.path("agent"),
    knownHosts: folder.path("known_hosts"),
    pinned: (alias: string) => folder.path(`pin-${alias}`),
  };
  const agent = openKeyAgent({
    env,
    socketPath: paths.agentSocket,
    publicKeyPath: paths.publicKey,
    keyPath,
    log: () => {},
  });
  const config = folder.write("config", configText(hosts, paths));
  return {
    async key() {
      const problem = await agent.ready();
      return problem === null ? { publicKey: agent.publicKey()! } : { problem };
    },
    async ask(alias, { program = "ssh", command, options = [], input = "" }) {
      // A copy: looking must not let a key in, and a pinned one counts from the next question on.
      folder.write("known_hosts", knownHosts(dataDir));
      const asked = program === "ssh" ? [alias, "--", ...command] : ["-b", "-", alias];
      const args = ["-F", config, "-o", "StrictHostKeyChecking=yes", ...options, ...asked];
      const limits = { outputBytesMax: answerBytesMax, deadlineMs: answerMsMax };
      return run({ file: program, args, env }, limits, { input });
    },
    refusedLogin(alias, { exit, stdout, stderr }) {
      const host = hosts.find((host) => host.alias === alias);
      if (host === undefined) throw new Error(`No account is configured as "${alias}".`);
      const loggedIn = stdout !== "" || (exit.kind === "exited" && exit.code !== 255);
      return loggedIn ? null : refusal({ host, exit, stderr }).reason;
    },
    async close() {
      await agent.close();
      folder.remove();
    },
  };
}

function knownHosts(dataDir: string): string {
  try {
    return readFileSync(join(dataDir, "known_hosts"), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
