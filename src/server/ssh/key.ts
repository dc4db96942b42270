import { rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { run } from "../process/run.ts";
import { start, type Running } from "../process/start.ts";
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
    agent = await startAgent(env, socketPath);
    if (agent === null) return "The ssh-agent could not be started: install openssh-client.";
    const failed = await add(key);
    if (failed !== null) {
      // Read anew next time: the file may have been mended by then.
      key = null;
      return failed;
    }
    const listed = await run(
      { file: "ssh-add", args: ["-L"], env: withAgent },
      { outputBytesMax: 16_384, deadlineMs: stepMsMax },
    );
    publicKey = listed.stdout.trim();
    writeFileSync(publicKeyPath, `${publicKey}\n`, { mode: 0o600 });
    return null;
  }

  async function add(text: string): Promise<string | null> {
    const command = { file: "ssh-add", args: ["-q", "-"], env: withAgent };
    const { exit, stderr } = await run(
      command,
      { outputBytesMax: 16_384, deadlineMs: stepMsMax },
      { input: text },
    );
    if (exit.kind === "exited" && exit.code === 0) return null;
    if (stderr.includes("passphrase")) {
      return `The SSH key ${keyPath} is protected by a passphrase, and nobody is here to type it: make a key of its own for this server (ssh-keygen -t ed25519 -N "").`;
    }
    return `The SSH key ${keyPath} could not be loaded (${stderr.trim() || "ssh-add said nothing"}): it must be a private key in OpenSSH's or PEM format.`;
  }

  /** A pid may have passed to somebody else: only while its socket is listened on. */
  async function end(): Promise<void> {
    if (agent === null) return;
    if (await listens(socketPath)) process.kill(agent.pid, "SIGTERM");
    agent.holder.kill("SIGKILL");
    agent = null;
    rmSync(socketPath, { force: true });
  }

  return {
    async ready() {
      if (closed) return "The server is stopping.";
      preparing ??= prepare().finally(() => (preparing = null));
      problem = await preparing;
      return problem;
    },
    problem: () => problem,
    publicKey: () => publicKey,
    async close() {
      closed = true;
      await preparing;
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
): Promise<{ holder: Running; pid: number } | null> {
  const holder = start({
    file: "ssh-agent",
    args: ["-a", socketPath, "/bin/sh", "-c", 'echo "$SSH_AGENT_PID" && exec cat'],
    env,
    stdin: "pipe",
  });
  holder.stderr.resume();
  const { promise, resolve } = Promise.withResolvers<number | null>();
  holder.stdout.once("data", (line: Buffer) => resolve(Number(line.toString())));
  void holder.exit.then(() => resolve(null));
  const pid = await within(stepMsMax, promise);
  if (pid === null || !Number.isSafeInteger(pid) || pid <= 1) {
    holder.kill("SIGKILL");
    return null;
  }
  return { holder, pid };
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
