import { mkdtempSync } from "node:fs";
import type { Mode } from "../../protocol/api.ts";
import type {
  ApprovalAsked,
  ApprovalDecided,
  ExecSettled,
  ExecStarted,
  OperationRequested,
  OperationSettled,
} from "../../protocol/events.ts";
import type { OperationId, SessionId } from "../../protocol/ids.ts";
import type { Clock } from "../clock.ts";
import type { Power } from "../power/power.ts";
import { makeRuntimeFolder } from "../ssh/runtime-folder.ts";
import type { Ssh } from "../ssh/ssh.ts";
import type { Store } from "../store/store.ts";
import type { Standing } from "./accounts.ts";
import { createApprovals, type Approvals } from "./approvals.ts";
import type { BrokerTarget } from "./decide.ts";
import { OpenDoor } from "./door.ts";
import type { FixedAnswer, FixedAsk } from "./fixed.ts";
import { createFreeze, type Freeze } from "./freeze.ts";

/** Holds the way to the keys for agents: decides, runs, records. */
export interface Broker {
  /** Opens the door for one Session; nothing passes it before its `beginTurn`. */
  open(session: BrokerSession): Promise<Door>;
  readonly approvals: Approvals;
  readonly freeze: Freeze;
  /** Closes every door, and removes the folder of their sockets. */
  close(): Promise<void>;
}

export type BrokerEvent =
  ExecStarted | ExecSettled | OperationRequested | OperationSettled | ApprovalAsked | ApprovalDecided;

export interface BrokerSession {
  readonly id: SessionId;
  /** Asked at each request, since it may change while the Session lives. */
  readonly mode: () => Mode;
  /** Resolves when the event is durable; rejects when it cannot be. `by`: who did it, when it was not the agent. */
  readonly record: (event: BrokerEvent, by?: string) => Promise<void>;
  /** The `n` of the next `exec`, when the Session has had some before; default 0. */
  readonly nextExec?: number;
}

/** What the agent needs to knock (agent.ts's BrokerDoor), and what the Session needs to shut it. */
export interface Door {
  readonly socketPath: string;
  readonly token: string;
  readonly binDir: string;
  /** Something that was asked for is under way. */
  readonly busy: () => boolean;
  /** A request of the Session waits for an Operator. */
  readonly waiting: () => boolean;
  /** From now on requests are heard, until `endTurn`. */
  beginTurn(): void;
  /**
   * Refuses what is asked from now on, voids what waits for an Operator, ends guest commands that still run, and waits
   * until all of that is on record. Verbs run on.
   */
  endTurn(): Promise<void>;
  /** For a Runbook, which has a Turn of its own: it needs no `beginTurn`, and `endTurn` ends it. */
  runFixed(asked: FixedAsk): Promise<FixedAnswer>;
  /** Call it when the Session's mode is another: what the new one forbids is not sent any more. */
  modeChanged(): void;
  /** The same as endTurn, and no knock is answered any more. */
  close(): Promise<void>;
}

export interface BrokerDeps {
  readonly ssh: Ssh;
  readonly power: Power;
  /** Where the freeze and the output of commands are kept. */
  readonly store: Store;
  /** The first is the default one: `devvm` and `pve` mean it. */
  readonly targets: readonly BrokerTarget[];
  /** What an account that is configured as owning nothing has shown of itself. */
  readonly standing: (target: string, alias: string) => Promise<Standing>;
  readonly clock: Clock;
  readonly newId: () => OperationId;
  /** Unguessable, for one Session. */
  readonly newToken: () => string;
  readonly log: (text: string) => void;
  /** Of the folder for sockets, when nobody else uses this name now (see makeRuntimeFolder). */
  readonly runtimeName?: string | undefined;
}

export function createBroker(deps: BrokerDeps): Broker {
  const doors = new Set<OpenDoor>();
  const folder = makeRuntimeFolder(deps.runtimeName && `${deps.runtimeName}-broker`);
  const approvals = createApprovals(deps);
  const freeze = createFreeze(deps);
  freeze.watch(() => {
    const frozen = freeze.now();
    if (frozen !== null) for (const door of doors) door.freeze(frozen);
  });
  return {
    approvals,
    freeze,
    async open(session) {
      // 0700, with a name of its own: a door that closes late takes nothing from the next one of its session.
      const place = mkdtempSync(folder.path("d-"));
      const door = new OpenDoor({ ...deps, approvals, freeze }, session, place, () => doors.delete(door));
      await door.listen();
      doors.add(door);
      return door;
    },
    async close() {
      await Promise.all([...doors].map((door) => door.close()));
      folder.remove();
    },
  };
}
