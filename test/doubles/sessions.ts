import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Agent } from "../../src/server/agent/agent.ts";
import type { Frozen, Mode } from "../../src/protocol/api.ts";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import type { SessionLimits } from "../../src/server/sessions/limits.ts";
import type { Runbooks } from "../../src/server/runbooks/runbooks.ts";
import type { SessionDoor } from "../../src/server/sessions/door.ts";
import type { SessionDeps } from "../../src/server/sessions/session.ts";
import { Sessions, type SessionsDeps } from "../../src/server/sessions/sessions.ts";
import { openFiles } from "../../src/server/store/files/files.ts";
import type { Store } from "../../src/server/store/store.ts";

/** A folder of its own for one test, gone afterwards. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "bg-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A store on the disk for one test. */
export async function scratchStore(directory = scratchFolder()): Promise<Store> {
  const store = await openFiles({ directory });
  onTestFinished(() => store.close());
  return store;
}

const generousLimits: SessionLimits = { turnsAtOnceMax: 4, reserveBytes: 0 };

/** The real sessions over `store`, with an agent and a door of the test's choice. */
export function openSessions(
  store: Store,
  agent: Agent,
  options: {
    readonly limits?: Partial<SessionLimits>;
    readonly openDoor?: SessionDeps["openDoor"];
    readonly report?: (error: unknown) => void;
    /** The configured one. */
    readonly mode?: Mode;
    readonly clock?: Clock;
    readonly freeze?: SessionsDeps["freeze"];
    readonly runbooks?: Runbooks;
    readonly operation?: SessionDeps["operation"];
  } = {},
): Promise<Sessions> {
  return Sessions.open({
    store,
    clock: options.clock ?? systemClock,
    agent,
    newTurnId: randomUUID,
    newSessionId: randomUUID,
    mode: () => options.mode ?? "supervised",
    freeze: options.freeze ?? new HandFreeze(),
    runbooks: options.runbooks ?? noRunbooks,
    operation: options.operation ?? (async () => undefined),
    targets: ["devvm"],
    openDoor: options.openDoor ?? (async () => closedDoor),
    limits: { ...generousLimits, ...options.limits },
    report:
      options.report ??
      ((error) => {
        throw error;
      }),
  });
}

/** A freeze that the test holds in its hands. */
export class HandFreeze {
  #frozen: Frozen | null = null;
  readonly #onChange = new Set<() => void>();

  now(): Frozen | null {
    return this.#frozen;
  }

  async set(frozen: boolean, by: string): Promise<{ durable: boolean }> {
    this.#frozen = frozen ? { by, at: "2026-01-01T00:00:00.000Z" } : null;
    for (const callback of this.#onChange) callback();
    return { durable: true };
  }

  watch(callback: () => void): () => void {
    this.#onChange.add(callback);
    return () => this.#onChange.delete(callback);
  }
}

const noRunbooks: Runbooks = { list: () => [], run: async () => null };

/** Nobody knocks at it, and nothing runs behind it. */
export const closedDoor: SessionDoor = {
  socketPath: "/nonexistent",
  token: "none",
  binDir: "/nonexistent",
  busy: () => false,
  waiting: () => false,
  beginTurn: () => {},
  endTurn: async () => {},
  modeChanged: () => {},
  runFixed: async () => ({ n: 0, end: { kind: "refused", reason: "a closed door" }, output: "" }),
  close: async () => {},
};

/** All Events of a Session, as they lie on the disk. */
export async function eventsOf(store: Store, session: string) {
  return store.read(`session/${session}`, -1, 1_000_000);
}
