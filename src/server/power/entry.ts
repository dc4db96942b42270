import type { Operation } from "../../protocol/api.ts";
import type { HostReport } from "../../protocol/outcome.ts";
import type { Gathered } from "./gathered.ts";
import type { Output } from "./output.ts";

/** What memory holds of one Operation. */
export interface Entry {
  operation: Operation;
  /** null, both: it has said nothing yet, or what was kept of it is in the store. */
  output: Output | null;
  evidence: Gathered | null;
  report: HostReport | null;
  readonly settled: PromiseWithResolvers<Operation>;
  /** Resolves when what became of a Reset is known, or will not be. */
  known: Promise<void>;
  /** False for plain status. */
  readonly recorded: boolean;
  notDurable: number;
  /** Resolves when the request is on record or its time has passed: before that nobody may call it durable. */
  asked: Promise<void>;
}

export function newEntry(operation: Operation): Entry {
  return {
    operation,
    output: null,
    evidence: null,
    report: null,
    settled: Promise.withResolvers(),
    known: Promise.resolve(),
    recorded: operation.verb !== "status",
    notDurable: 0,
    asked: Promise.resolve(),
  };
}

/** Operations whose output and evidence are in memory, some 600 KiB each at most; that of older ones is in the store. */
const keptMax = 16;
/** Operations that history, `after` and repeated keys know; of older ones the store still knows the key. */
const indexedMax = 10_000;

/** Lets go of what is old, oldest first in `entries`. What still runs is never forgotten: it is among the newest. */
export function trim(entries: Map<string, Entry>): void {
  let newer = entries.size;
  for (const [id, entry] of entries) {
    newer--;
    if (newer < keptMax) return;
    if (entry.operation.outcome === undefined) continue;
    if (newer >= indexedMax || !entry.recorded) entries.delete(id);
    else entry.output = entry.evidence = entry.report = null;
  }
}
