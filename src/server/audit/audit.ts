import type { Clock } from "../clock.ts";
import { StoreError, type Store } from "../store/store.ts";
import { entryOf, genesis, type AuditFact } from "./entry.ts";

export const auditStream = "audit";

/** The newest entry: logged at intervals, it shows a tail that was cut off. */
export interface AuditHead {
  /** -1: nothing is recorded yet. */
  readonly id: number;
  readonly hash: string;
}

export interface Audit {
  /**
   * Resolves with true once the entry is on disk, with false when it could not be recorded: then `onLoss` has been called.
   * Never rejects, and takes as long as the disk does: who cannot wait does not await it.
   */
  record(fact: AuditFact): Promise<boolean>;
  /** As far as is known to be on disk; asks the store when nothing was recorded yet. Rejects with the store's error. */
  head(): Promise<AuditHead>;
}

export interface AuditDeps {
  readonly store: Pick<Store, "append" | "head" | "read">;
  readonly clock: Clock;
  /** Told what is not recorded, and why. */
  readonly onLoss: (fact: AuditFact, reason: string) => void;
}

/** Beyond so many entries waiting for the disk further ones are lost, and said to be. */
const waitingMax = 1000;
/** Entries of one append. */
const batchMax = 100;
/** Appends of one batch, when another writer came first or the store could not say what is on disk. */
const attemptsMax = 3;

/**
 * Appends to the stream `audit`, each entry carrying the hash of the one before. The chain decides the order, so that there
 * is one append at a time, of all that waits.
 */
export function createAudit({ store, clock, onLoss }: AuditDeps): Audit {
  let waiting: Waiting[] = [];
  let working = false;
  /** null: not known, ask the store. */
  let head: AuditHead | null = null;

  const work = async () => {
    working = true;
    while (waiting.length > 0) {
      const batch = waiting.slice(0, batchMax);
      waiting = waiting.slice(batchMax);
      const { lost, reason } = await append(batch);
      for (const { fact } of lost) onLoss(fact, reason);
      for (const item of batch) item.settle(!lost.includes(item));
    }
    working = false;
  };

  const append = async (batch: readonly Waiting[]): Promise<Appended> => {
    let rest = batch;
    let tried: readonly string[] = [];
    let reason = "";
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      try {
        const before: AuditHead = head ?? (await readHead(store));
        // An append that ended "unknown" may have left all or the first of its entries: they are not written twice.
        rest = rest.slice(tried.indexOf(before.hash) + 1);
        if (rest.length === 0) return { lost: rest, reason };
        const bodies = chained(rest, before.hash);
        tried = bodies.map(({ hash }) => hash);
        const { lastId } = await store.append(auditStream, bodies, { expectedHead: before.id });
        head = { id: lastId, hash: tried.at(-1)! };
        return { lost: [], reason };
      } catch (error) {
        head = null;
        reason = error instanceof Error ? error.message : String(error);
        const kind = error instanceof StoreError ? error.kind : undefined;
        // After "head_moved" nothing of ours is there, even if somebody wrote the very same entry.
        if (kind === "head_moved") tried = [];
        else if (kind !== "unknown") break;
      }
    }
    return { lost: rest, reason };
  };

  return {
    record(fact) {
      if (waiting.length >= waitingMax) {
        onLoss(fact, `More than ${waitingMax} entries wait for the disk.`);
        return Promise.resolve(false);
      }
      const recorded = new Promise<boolean>((settle) => {
        waiting.push({ fact, at: clock.now(), settle });
      });
      if (!working) void work();
      return recorded;
    },
    head: async () => head ?? (await readHead(store)),
  };
}

interface Waiting {
  readonly fact: AuditFact;
  readonly at: Date;
  readonly settle: (recorded: boolean) => void;
}

interface Appended {
  readonly lost: readonly Waiting[];
  readonly reason: string;
}

function chained(items: readonly Waiting[], after: string) {
  let prev = after;
  return items.map(({ fact, at }) => {
    const entry = entryOf(fact, at, prev);
    prev = entry.hash;
    return entry;
  });
}

async function readHead(store: AuditDeps["store"]): Promise<AuditHead> {
  const id = await store.head(auditStream);
  if (id < 0) return { id, hash: genesis };
  const [newest] = await store.read(auditStream, id - 1, 1);
  if (typeof newest?.["hash"] !== "string")
    throw new Error(
      "The newest audit entry has no hash. Its chain is broken before it: `verify` in audit/verify.ts says where.",
    );
  return { id, hash: newest["hash"] };
}
