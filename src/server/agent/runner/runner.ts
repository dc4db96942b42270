import type { Readable, Writable } from "node:stream";
import type { Isolation } from "../../../protocol/api.ts";
import type { SessionId } from "../../../protocol/ids.ts";
import type { IsolationChoice } from "../../config/config.ts";
import type { Exit } from "../../process/start.ts";
import type { BrokerDoor } from "../agent.ts";
import { accountRunner } from "./account.ts";
import { bubblewrapRunner } from "./bubblewrap.ts";
import { bareRunner } from "./none.ts";
import { remoteRunner } from "./remote.ts";

/** Starts an agent's process, stops it, and clears up what it left. Here, or in a program of its own. */
export interface Runner {
  /** What holds for the agents that it starts, as far as it is known by now. */
  isolation(): Isolation;
  /** The agent's executable is its own affair, and not the server's. */
  readonly bringsAgent: boolean;
  /** One sentence with the mend when agents cannot be started now; null when they can. */
  problem(): Promise<string | null>;
  /** Where the agent finds its things, as it sees them itself. */
  places(errand: Errand): Places;
  start(order: Order): Cage;
  /** Ends what it needs besides its cages. */
  close(): Promise<void>;
}

/** Whose process, and where its door is. */
export interface Errand {
  readonly session: SessionId;
  /** The agent's executable, on this machine. */
  readonly executable: string;
  readonly door: Pick<BrokerDoor, "socketPath" | "binDir">;
}

export interface Places {
  readonly executable: string;
  /** Working directory and HOME; kept from Turn to Turn. */
  readonly workspace: string;
  /** The agent's memory; kept. */
  readonly memory: string;
  readonly temporary: string;
  readonly brokerSocket: string;
  /** PATH, the Broker's folder first. */
  readonly path: string;
}

export interface Order extends Errand {
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

export interface Cage {
  readonly running: Life;
  /** Ends everything in it but the agent itself; false when something would not go: then `kill` it. */
  sweep(): Promise<boolean>;
  /** SIGKILL to all of it; resolves when nothing of it is left. */
  kill(): Promise<void>;
}

/** The agent's process, wherever it is. */
export interface Life {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when it has ended and its output is closed; never rejects. With the agent ends everything in its cage. */
  readonly exit: Promise<End>;
}

/** "lost": the runner went away, and with it the knowledge of how the agent ended. */
export type End = Exit | { readonly kind: "lost"; readonly reason: string };

export interface RunnerOptions {
  /** "auto" means bubblewrap where it works, and no Turns elsewhere. */
  readonly isolation: IsolationChoice;
  readonly sessionsDir: string;
  /** Further files and folders that the agent may read, at the same paths: runbooks, certificates. */
  readonly readable: readonly string[];
  /** The agent's executable on this machine, for a program that is started from here. */
  readonly executable?: string | undefined;
}

/** Never falls back to less confinement than was asked for. */
export function openRunner(options: RunnerOptions): Runner {
  const { isolation } = options;
  switch (isolation.kind) {
    case "none":
      return bareRunner(options);
    case "account":
      return accountRunner({ account: isolation.account, ...options });
    case "runner":
      return remoteRunner({
        socketPath: isolation.socketPath,
        name: `the runner at ${isolation.socketPath}`,
      });
    default:
      return bubblewrapRunner(options);
  }
}
