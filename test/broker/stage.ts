import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Mode } from "../../src/protocol/api.ts";
import type { PendingApproval } from "../../src/protocol/api.ts";
import type { SessionId } from "../../src/protocol/ids.ts";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import { createBroker, type Broker, type BrokerEvent, type Door } from "../../src/server/broker/broker.ts";
import type { DecideAnswer } from "../../src/server/broker/approvals.ts";
import type { Standing } from "../../src/server/broker/accounts.ts";
import type { BrokerTarget } from "../../src/server/broker/decide.ts";
import type { Power } from "../../src/server/power/power.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import { lateStore } from "../../src/server/store/late.ts";
import type { Store } from "../../src/server/store/store.ts";
import { openSsh, type Ssh } from "../../src/server/ssh/ssh.ts";
import { stage as powerStage, type ScriptedHypervisor } from "../power/stage.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";

export interface BrokerStage {
  readonly dir: string;
  readonly broker: Broker;
  readonly door: Door;
  readonly events: BrokerEvent[];
  /** Who did it, of each of the events. */
  readonly actors: (string | undefined)[];
  readonly hypervisor: ScriptedHypervisor;
  readonly power: Power;
  readonly ssh: Ssh;
  readonly sshd: Sshd;
  readonly store: Store;
  /** Of the open session. */
  readonly id: SessionId;
  readonly targets: readonly BrokerTarget[];
  mode: Mode;
  /** What asking the unprivileged account shows. */
  standing: Standing;
  /** What recording an event does before, or instead of, succeeding. */
  recordFault: ((event: BrokerEvent) => Promise<void> | void) | null;
  /** An Operator's answer to it. */
  decide(pending: Pending, decision: "approve" | "deny", by?: string): Promise<DecideAnswer>;
  /** Resolves with the next request that waits for an Operator and was not answered by this function before. */
  asked(): Promise<Pending>;
  close(): Promise<void>;
}

export type Pending = Omit<PendingApproval, "session_name">;

/**
 * A real sshd behind the real ssh behind a broker with one open session. Both accounts of the target are whoever runs
 * the tests; they are told apart by the recorded account and the alias.
 */
export async function brokerStage(
  options: {
    readonly unprivileged?: boolean;
    readonly runtimeName?: string;
    readonly clock?: Clock;
    /** False: what was before the start has not been read. */
    readonly recovered?: boolean;
    /** What the store does otherwise. */
    readonly store?: (files: Store) => Partial<Store>;
    /** Of sshd_config. */
    readonly sshdConfig?: readonly string[];
  } = {},
): Promise<BrokerStage> {
  const dir = mkdtempSync(join(tmpdir(), "bg-broker-"));
  const key = makeKey(dir, "key");
  const sshd: Sshd = await startSshd({
    authorizedKeys: [key.publicKey],
    dir,
    config: options.sshdConfig ?? [],
  });
  const host = { hostName: "127.0.0.1", port: sshd.port, user: sshd.user, side: "guest" } as const;
  const ssh: Ssh = await openSsh({
    hosts: [
      { ...host, alias: "devvm" },
      { ...host, alias: "devvm-root" },
    ],
    keyPath: key.path,
    knownHostsDir: dir,
  });
  const targets: BrokerTarget[] = [
    {
      name: "devvm",
      privileged: { alias: "devvm-root", user: "rescue" },
      unprivileged: options.unprivileged === false ? null : { alias: "devvm", user: "observer" },
      power: true,
    },
  ];
  const clock = options.clock ?? systemClock;
  const { power, hypervisor } = powerStage({ clock });
  if (options.recovered !== false) await power.recover();
  const files = await openFiles({ directory: join(dir, "store") });
  const late = lateStore("The store is not open yet.");
  late.open(files);
  const store: Store = { ...late.store, ...options.store?.(files) };
  const events: BrokerEvent[] = [];
  const actors: (string | undefined)[] = [];
  const seen = new Set<string>();
  const broker = createBroker({
    ssh,
    power,
    store,
    targets,
    standing: async () => stage.standing,
    clock,
    newId: () => randomUUID(),
    newToken: () => randomUUID(),
    log: () => {},
    runtimeName: options.runtimeName,
  });
  const stage: Omit<BrokerStage, "door"> = {
    dir,
    broker,
    events,
    actors,
    hypervisor,
    power,
    ssh,
    sshd,
    store,
    id: randomUUID(),
    targets,
    mode: "supervised",
    standing: { kind: "owns_nothing" },
    recordFault: null,
    asked: () =>
      new Promise((resolve) => {
        const look = () => {
          const next = broker.approvals.pending().find(({ approval }) => !seen.has(approval));
          if (next === undefined) return;
          seen.add(next.approval);
          stop();
          resolve(next);
        };
        const stop = broker.approvals.watch(look);
        look();
      }),
    decide: ({ session_id, approval, sha256 }, decision, by = "ana") =>
      broker.approvals.decide(session_id, approval, { decision, sha256 }, by),
    async close() {
      await broker.close();
      await ssh.close();
      await sshd.stop();
      await files.close();
      rmSync(dir, { recursive: true });
    },
  };
  const door = await broker.open({
    id: stage.id,
    mode: () => stage.mode,
    record: async (event, by) => {
      await stage.recordFault?.(event);
      events.push(event);
      actors.push(by);
    },
  });
  door.beginTurn();
  return Object.assign(stage, { door });
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Starts the shim as an agent does: by its name in the PATH, with a bare environment. */
export function startShim(
  door: Pick<Door, "binDir" | "socketPath" | "token">,
  program: "ssh" | "scp",
  args: readonly string[],
): ChildProcess {
  return spawn(program, args, { env: agentEnv(door), stdio: "pipe" });
}

export async function shim(
  door: Pick<Door, "binDir" | "socketPath" | "token">,
  args: readonly string[],
  {
    input = Buffer.alloc(0),
    program = "ssh",
  }: { readonly input?: Buffer; readonly program?: "ssh" | "scp" } = {},
): Promise<Ran> {
  const child = startShim(door, program, args);
  child.stdin!.on("error", () => {});
  child.stdin!.end(input);
  return ended(child);
}

/** What an agent's Bash tool does with a line: bash runs it, without anything on stdin. */
export function agentShell(
  door: Pick<Door, "binDir" | "socketPath" | "token">,
  line: string,
  cwd: string,
): Promise<Ran> {
  const child = spawn("bash", ["-c", line], { cwd, env: agentEnv(door), stdio: ["ignore", "pipe", "pipe"] });
  return ended(child);
}

function agentEnv({
  binDir,
  socketPath,
  token,
}: Pick<Door, "binDir" | "socketPath" | "token">): NodeJS.ProcessEnv {
  return {
    PATH: `${binDir}:${join(process.execPath, "..")}:/usr/bin:/bin`,
    BREAKGLASS_BROKER: socketPath,
    BREAKGLASS_TOKEN: token,
  };
}

async function ended(child: ChildProcess): Promise<Ran> {
  const stdout: Buffer[] = [];
  let stderr = "";
  child.stdout!.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr!.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout: Buffer.concat(stdout), stderr };
}
