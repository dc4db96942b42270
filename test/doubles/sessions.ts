import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Agent } from "../../src/server/agent/agent.ts";
import { systemClock } from "../../src/server/clock.ts";
import type { SessionLimits } from "../../src/server/sessions/limits.ts";
import type { SessionDeps, SessionDoor } from "../../src/server/sessions/session.ts";
import { Sessions } from "../../src/server/sessions/sessions.ts";
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
  } = {},
): Promise<Sessions> {
  return Sessions.open({
    store,
    clock: systemClock,
    agent,
    newTurnId: randomUUID,
    newSessionId: randomUUID,
    mode: () => "supervised",
    openDoor: options.openDoor ?? (async () => closedDoor),
    limits: { ...generousLimits, ...options.limits },
    report:
      options.report ??
      ((error) => {
        throw error;
      }),
  });
}

const closedDoor: SessionDoor = {
  socketPath: "/nonexistent",
  token: "none",
  binDir: "/nonexistent",
  busy: () => false,
  waiting: () => false,
  beginTurn: () => {},
  endTurn: async () => {},
  close: async () => {},
};

/** All Events of a Session, as they lie on the disk. */
export async function eventsOf(store: Store, session: string) {
  return store.read(`session/${session}`, -1, 1_000_000);
}
