import { existsSync, statSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { keptFolder } from "../../src/server/ssh/runtime-folder.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";

/** One call that has arrived at the hypervisor, and waits for its end there. */
interface Call {
  readonly verb: string;
  /** null: sent as a plain word. */
  readonly job: string | null;
  /** A line on stdout. */
  say(line: string): void;
  /** The closing machine line, and the exit code. */
  end(result: { readonly result: string; readonly code: number; readonly state: string }): void;
}

export const done = { result: "done", code: 0, state: "running" } as const;
export const off = { result: "off", code: 6, state: "stopped" } as const;

export interface Machine {
  /** The settings of a server whose only machine this is. */
  readonly env: Readonly<Record<string, string>>;
  /** Its host key is known there from now on: on disk where that is a folder, and in what a server before left in memory. */
  knownIn(dataDir: string): void;
  /** The next mutating call that nobody has taken yet. Everything else is answered by itself. */
  next(): Promise<Call>;
  /** Every mutating call that came. */
  readonly calls: readonly Call[];
}

export const bearerToken = "a-token-that-is-long-enough-to-pass";

/** What the forced command does: it says what was asked for, and does what it is told. */
const forcedCommand = (port: number) => `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/${port} || exit 255
printf '%s\\n' "$SSH_ORIGINAL_COMMAND" >&3
while IFS= read -r line <&3; do
  case $line in
    "exit "*) exit "\${line#exit }" ;;
    *) printf '%s\\n' "$line" ;;
  esac
done
exit 255
`;

/** A hypervisor behind a real sshd whose answers the test gives. */
export async function startMachine(): Promise<Machine> {
  const dir = scratchFolder();
  const calls: Call[] = [];
  const untaken: Call[] = [];
  const waiting: ((call: Call) => void)[] = [];
  const sockets = new Set<Socket>();
  const jobs = new Map<string, string[]>();

  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    createInterface({ input: socket }).once("line", (asked) => answer(asked, socket));
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const command = join(dir, "command");
  writeFileSync(command, forcedCommand((server.address() as AddressInfo).port), { mode: 0o755 });
  const key = makeKey(dir, "key");
  const sshd = await startSshd({
    dir,
    authorizedKeys: [`restrict,command="${command}" ${key.publicKey}`],
    config: ["MaxSessions 20"],
  });
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await sshd.stop();
  });

  function answer(asked: string, socket: Socket): void {
    const [first = "", ...rest] = asked.split(" ");
    const [verb = "", job = null] = first === "v2" ? rest : [first];
    const write = (line: string) => void socket.write(`${line}\n`);
    if (verb === "hello" || verb === "status" || verb === "forensics") {
      if (verb !== "hello") write(`${verb}: running`);
      write(final(verb, job, { ...done, changed: false }));
      return write("exit 0");
    }
    if (verb === "attach" || (job !== null && jobs.has(job))) return follow(job, write);
    const said: string[] = [];
    if (job !== null) jobs.set(job, said);
    const tell = (line: string) => {
      said.push(line);
      write(line);
    };
    const call: Call = {
      verb,
      job,
      say: tell,
      end(result) {
        tell(final(verb, job, { ...result, changed: true }));
        tell(`exit ${result.code}`);
      },
    };
    calls.push(call);
    const taker = waiting.shift();
    if (taker) taker(call);
    else untaken.push(call);
  }

  /** What a job has said so far, to whoever comes back to it. */
  function follow(job: string | null, write: (line: string) => void): void {
    const said = jobs.get(job ?? "");
    for (const line of said ?? [
      final("attach", job, { result: "absent", code: 9, state: "unknown" }),
      "exit 9",
    ])
      write(line);
  }

  return {
    calls,
    knownIn(dataDir) {
      const line = `[127.0.0.1]:${sshd.port} ${sshd.hostPublicKey}\n`;
      const onDisk = join(dataDir, "known_hosts");
      // Not written twice: by then the disk may hang.
      if (existsSync(onDisk)) return;
      if (statSync(dataDir, { throwIfNoEntry: false })?.isDirectory()) writeFileSync(onDisk, line);
      writeFileSync(join(keptFolder(dataDir)!, "known_hosts"), line);
    },
    next() {
      const call = untaken.shift();
      return call ? Promise.resolve(call) : new Promise((resolve) => waiting.push(resolve));
    },
    env: {
      API_BEARER_TOKEN: bearerToken,
      BREAKGLASS_PVE_HOST: `127.0.0.1:${sshd.port}`,
      BREAKGLASS_PVE_USER: sshd.user,
      BREAKGLASS_KEY_PATH: key.path,
      BREAKGLASS_ISOLATION: "none",
    },
  };
}

function final(
  verb: string,
  job: string | null,
  {
    result,
    code,
    state,
    changed = false,
  }: { readonly result: string; readonly code: number; readonly state: string; readonly changed?: boolean },
): string {
  const line = {
    seq: 0,
    job,
    verb,
    vmid: 102,
    ts: new Date().toISOString(),
    result,
    code,
    state_before: "running",
    state_after: state,
    pid_before: 1,
    pid_after: 2,
    changed,
    forensics_id: null,
    verdict: null,
    holder: null,
    durable: true,
    text: `${verb}: ${result}.`,
    journal_seconds: 100_000,
    version: 2,
    jobs: true,
  };
  return `BG1 ${JSON.stringify(line)}`;
}
