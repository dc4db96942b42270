import { rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { run, type Finished } from "../process/run.ts";
import { signal } from "../process/signal.ts";
import { start, type Exit, type Running } from "../process/start.ts";
import { notStarted } from "./refusal.ts";
import { within } from "./within.ts";

/** The server's own ssh-agent with one key in it. */
export interface KeyAgent {
  /** Makes sure that the agent lives and holds the key; null, or what is wrong and the mend. */
  ready(): Promise<string | null>;
  problem(): string | null;
  publicKey(): string | null;
  close(): Promise<void>;
}

/** ssh-add and the agent's start are a matter of milliseconds; past this they are killed and the problem is told. */
const stepMsMax = 10_000;
/** For a preparation under way when the server stops; past this it is left alone, and starts nothing more. */
const closeMsMax = 500;
const stopping = "The server is stopping.";
const noKey = "No SSH key is configured: set BREAKGLASS_KEY_PATH to the private key's file.";

/**
 * Nothing is watched: whether the agent lives matters only when a connection is made, and then it is asked; one that
 * died is started again and gets the key from memory, since the key's disk may hang by then.
 */
export function openKeyAgent(deps: {
  readonly env: Readonly<Record<string, string>>;
  readonly socketPath: string;
  readonly publicKeyPath: string;
  readonly keyPath: string | undefined;
  readonly log: (text: string) => void;
}): KeyAgent {
  const { env, socketPath, publicKeyPath, keyPath, log } = deps;
  const withAgent = { ...env, SSH_AUTH_SOCK: socketPath };
  let agent: { readonly holder: Running; readonly pid: number } | null = null;
  let key: string | null = null;
  let publicKey: string | null = null;
  let problem: string | null = noKey;
  let preparing: Promise<string | null> | null = null;
  let closed = false;

  async function prepare(): Promise<string | null> {
    if (keyPath === undefined) return noKey;
    if (publicKey !== null && (await listens(socketPath))) return null;
    publicKey = null;
    if (key === null) {
      const read = await readKey(keyPath);
      if ("problem" in read) return read.problem;
      key = read.text;
    }
    if (agent !== null) log("ssh: the key agent died; starting another");
    await end();
    if (closed) return stopping;
    const started = await startAgent(env, socketPath);
    if ("problem" in started) return started.problem;
    agent = started;
    const failed = await add(key);
    if (failed !== null) return failed;
    const listed = await run(
      { file: "ssh-add", args: ["-L"], env: withAgent },
      { outputBytesMax: 16_384, deadlineMs: stepMsMax },
    );
    const line = listed.stdout.trim();
    if (line === "")
      return `The SSH key ${keyPath} was loaded, but its public half could not be listed (${why(listed)}); the next connection tries again.`;
    try {
      writeFileSync(publicKeyPath, `${line}\n`, { mode: 0o600 });
    } catch (error) {
      return `The SSH key ${keyPath} was loaded, but its public half could not be written down (${(error as Error).message}); the next connection tries again.`;
    }
    publicKey = line;
    return null;
  }

  async function add(text: string): Promise<string | null> {
    const command = { file: "ssh-add", args: ["-q", "-"], env: withAgent };
    const added = await run(command, { outputBytesMax: 16_384, deadlineMs: stepMsMax }, { input: text });
    const { exit, stderr } = added;
    if (exit.kind === "exited" && exit.code === 0) return null;
    if (exit.kind === "not_started") return notStarted(exit.error);
    // Read anew next time: the file may have been mended by then.
    key = null;
    if (stderr.includes("passphrase")) {
      return `The SSH key ${keyPath} is protected by a passphrase, and nobody is here to type it: make a key of its own for this server (ssh-keygen -t ed25519 -N "").`;
    }
    return `The SSH key ${keyPath} could not be loaded (${why(added)}): it must be a private key in OpenSSH's or PEM format.`;
  }

  /** A pid may have passed to somebody else: only while its socket is listened on. */
  async function end(): Promise<void> {
    if (agent === null) return;
    // Ended in order it would remove its socket a moment later, which may be the next one's by then.
    if (await listens(socketPath)) signal(agent.pid, "SIGKILL");
    agent.holder.kill("SIGKILL");
    agent = null;
    rmSync(socketPath, { force: true });
  }

  return {
    async ready() {
      if (closed) return stopping;
      preparing ??= prepare().finally(() => (preparing = null));
      problem = await preparing;
      return problem;
    },
    problem: () => problem,
    publicKey: () => publicKey,
    async close() {
      closed = true;
      await within(closeMsMax, Promise.resolve(preparing));
      await end();
    },
  };
}

/** Kubernetes and editors lose the last newline, Windows adds carriage returns; OpenSSH refuses the key for either. */
async function readKey(path: string): Promise<{ text: string } | { problem: string }> {
  try {
    const text = await within(stepMsMax, readFile(path, "utf8"));
    if (text === null)
      return {
        problem: `The SSH key ${path} could not be read within ${stepMsMax / 1_000} s: its disk hangs.`,
      };
    return { text: `${text.replaceAll("\r", "").trim()}\n` };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT")
      return {
        problem: `The SSH key ${path} does not exist: mount it there, or correct BREAKGLASS_KEY_PATH.`,
      };
    if (code === "EACCES")
      return {
        problem: `The SSH key ${path} may not be read by this account: give it to the server's user or group.`,
      };
    return { problem: `The SSH key ${path} could not be read (${message}): correct BREAKGLASS_KEY_PATH.` };
  }
}

/**
 * Started with a command, ssh-agent ends within 10 s of it (ssh-agent.c, parent_alive_interval). That command waits for
 * the end of our pipe, so that no agent with a key in it outlives a server that was killed. It tells the agent's pid.
 */
async function startAgent(
  env: Readonly<Record<string, string>>,
  socketPath: string,
): Promise<{ holder: Running; pid: number } | { problem: string }> {
  const holder = start({
    file: "ssh-agent",
    args: ["-a", socketPath, "/bin/sh", "-c", 'echo "$SSH_AGENT_PID" && exec cat'],
    env,
    stdin: "pipe",
  });
  holder.stderr.resume();
  const { promise, resolve } = Promise.withResolvers<number | Exit>();
  holder.stdout.once("data", (line: Buffer) => resolve(Number(line.toString())));
  void holder.exit.then(resolve);
  const told = await within(stepMsMax, promise);
  if (typeof told === "number" && Number.isSafeInteger(told) && told > 1) return { holder, pid: told };
  holder.kill("SIGKILL");
  if (typeof told === "object" && told?.kind === "not_started") return { problem: notStarted(told.error) };
  return {
    problem: "The ssh-agent did not come up: see whether `ssh-agent` works on the server's machine.",
  };
}

function why({ exit, stderr }: Finished): string {
  return exit.kind === "not_started" ? exit.error.message : stderr.trim() || "ssh-add said nothing";
}

function listens(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
  });
}
