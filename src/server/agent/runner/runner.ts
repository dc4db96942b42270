import type { SessionId } from "../../../protocol/ids.ts";
import type { Running } from "../../process/start.ts";
import type { BrokerDoor } from "../agent.ts";
import { bubblewrapRunner } from "./bubblewrap.ts";
import { bareRunner } from "./none.ts";

/** Starts an agent's process, stops it, and clears up what it left. Two implementations: bubblewrap and none. */
export interface Runner {
  readonly isolation: "bubblewrap" | "none";
  /** One sentence with the mend when agents cannot be started here; null when they can. */
  problem(): Promise<string | null>;
  /** Where the agent finds its things, as it sees them itself. */
  places(errand: Errand): Places;
  start(order: Order): Cage;
}

/** Whose process, and where its door is. */
export interface Errand {
  readonly session: SessionId;
  /** The agent's executable, on this machine. */
  readonly executable: string;
  readonly door: BrokerDoor;
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
  readonly running: Running;
  /** Ends everything in it but the agent itself; false when something would not go: then `kill` it. */
  sweep(): Promise<boolean>;
  /** SIGKILL to all of it; resolves when nothing of it is left. */
  kill(): Promise<void>;
}

export interface RunnerOptions {
  /** "auto" means bubblewrap where it works, and no Turns elsewhere. */
  readonly isolation: "auto" | "bubblewrap" | "none";
  readonly sessionsDir: string;
  /** Further files and folders that the agent may read, at the same paths: runbooks, certificates. */
  readonly readable: readonly string[];
}

/** Never falls back to less confinement than was asked for. */
export function openRunner(options: RunnerOptions): Runner {
  return options.isolation === "none" ? bareRunner(options) : bubblewrapRunner(options);
}
