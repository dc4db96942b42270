import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Operation } from "../../protocol/api.ts";
import { isUuid, type OperationId } from "../../protocol/ids.ts";
import { auditStream, type Audit } from "../audit/audit.ts";
import type { AuditFact } from "../audit/entry.ts";
import type { Clock } from "../clock.ts";
import { readable } from "../store/readable.ts";
import type { Body, Store, StoredRecord, StreamName } from "../store/store.ts";
import { foldRecord, indexStream, operationStream } from "./records.ts";
import { readSpooled, spoolSuffix } from "./spool.ts";

/** A file that is being brought in: whoever still writes to that Operation begins a new one. */
const leftSuffix = ".left";

/** After this long it is tried again; until then what is left stays in the spool. */
const againMs = 30_000;

interface SpooledDeps {
  readonly store: Store;
  readonly audit: Pick<Audit, "record">;
  readonly clock: Clock;
  readonly log: (text: string) => void;
}

/** Operations that have a file in the spool now. */
export async function spooledIn(folder: string): Promise<ReadonlySet<OperationId>> {
  return new Set((await namesIn(folder)).map(idOf).filter(isUuid));
}

/**
 * Brings what was spooled into the record: the Operation's own stream, the index, the audit log; and only then removes it. What
 * is in the record already is not written again, so that being killed at any point, or doing it twice, doubles nothing.
 * Never rejects: what the disk does not take now is tried again. `left` limits a folder to these Operations, where this very
 * process spools as well.
 */
export async function bringInSpooled(
  deps: SpooledDeps,
  folder: string,
  left?: ReadonlySet<OperationId>,
): Promise<void> {
  try {
    const names = (await namesIn(folder)).filter((name) => left?.has(idOf(name) as OperationId) ?? true);
    const ids = names.map(idOf).filter(isUuid);
    if (ids.length === 0) return;
    const known = await knownOf(deps.store, new Set(ids));
    const failures: unknown[] = [];
    for (const id of new Set(ids)) {
      try {
        const path = join(folder, id);
        if (names.includes(id + leftSuffix)) await bringIn(deps, known, id, path + leftSuffix);
        if (!names.includes(id + spoolSuffix)) continue;
        await rename(path + spoolSuffix, path + leftSuffix);
        await bringIn(deps, known, id, path + leftSuffix);
      } catch (error) {
        // One file that cannot be read (a CLI that ran as root left it, say) keeps none of the others.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  } catch (error) {
    deps.log(
      `power: what is spooled in ${folder} could not be recorded (${String(error)}); it stays there, and is offered again`,
    );
    deps.clock.after(againMs, () => void bringInSpooled(deps, folder, left));
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

const idOf = (name: string) => name.slice(0, name.indexOf("."));

async function bringIn(deps: SpooledDeps, known: Known, id: OperationId, path: string): Promise<void> {
  let bytes = -1;
  // A process that had opened the file before it was renamed may have written to it still.
  for (let now = await size(path); now !== bytes; now = await size(path)) {
    bytes = now;
    await record(deps, known, id, await readSpooled(path));
  }
  await rm(path);
  deps.log(`power: operation ${id} was spooled, and is in the record now`);
}

async function record(
  { store, audit }: SpooledDeps,
  known: Known,
  id: OperationId,
  spooled: readonly Body[],
): Promise<void> {
  const own = await bodiesOf(store, operationStream(id));
  await appendMissing(store, operationStream(id), spooled, own);
  const lines = spooled.filter(({ kind }) => kind !== "output");
  await appendMissing(store, indexStream, lines, known.index);
  const fact = auditFactOf(id, [...own, ...lines]);
  if (fact === null || known.audited.has(id)) return;
  if (!(await audit.record(fact))) throw new Error(`the audit log does not take operation ${id}`);
  known.audited.add(id);
}

async function appendMissing(
  store: Store,
  stream: StreamName,
  bodies: readonly Body[],
  recorded: Set<string>,
): Promise<void> {
  const missing = bodies.filter((body) => !recorded.has(JSON.stringify(body)));
  if (missing.length === 0) return;
  await store.append(stream, missing);
  for (const body of missing) recorded.add(JSON.stringify(body));
}

/** Of the Operations in the spool only. */
interface Known {
  /** Lines of the index, as JSON. */
  readonly index: Set<string>;
  readonly audited: Set<OperationId>;
}

async function knownOf(store: Store, ids: ReadonlySet<OperationId>): Promise<Known> {
  const index = await bodiesOf(store, indexStream, (body) => ids.has(body["operation"] as OperationId));
  const audited = new Set<OperationId>();
  for await (const { detail } of readable(store, auditStream, () => {})) {
    const { operation } = (detail ?? {}) as { readonly operation?: unknown };
    if (isUuid(operation) && ids.has(operation)) audited.add(operation);
  }
  return { index, audited };
}

async function bodiesOf(
  store: Store,
  stream: StreamName,
  wanted: (record: StoredRecord) => boolean = () => true,
): Promise<Set<string>> {
  const bodies = new Set<string>();
  for await (const record of readable(store, stream, () => {})) {
    const { id: _, ...body } = record;
    if (wanted(record)) bodies.add(JSON.stringify(body));
  }
  return bodies;
}

/** What the audit log says of a Verb that has settled; null while it has not. */
function auditFactOf(id: OperationId, bodies: Iterable<Body | string>): AuditFact | null {
  const folded = new Map<OperationId, Operation>();
  let at = 0;
  for (const body of bodies) {
    const record = typeof body === "string" ? (JSON.parse(body) as Body) : body;
    foldRecord(folded, { ...record, id: at++ });
  }
  const operation = folded.get(id);
  return operation === undefined ? null : verbFact(operation);
}

/** `operation` in its detail ties the entry to the Operation. */
export function verbFact({ id, by, verb, target, outcome }: Operation): AuditFact | null {
  if (outcome === undefined) return null;
  return { actor: by, action: `verb ${verb}`, target, outcome: outcome.kind, detail: { operation: id } };
}

async function size(path: string): Promise<number> {
  return (await stat(path)).size;
}
