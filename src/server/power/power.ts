import type { Operation, VerbAnswer } from "../../protocol/api.ts";
import type { OperationId } from "../../protocol/ids.ts";
import { hostResult, outcomeOf, type HostReport, type Outcome } from "../../protocol/outcome.ts";
import { verbs, type Verb } from "../../protocol/verbs.ts";
import { within, type Clock } from "../clock.ts";
import type { Body, Store, StoredRecord } from "../store/store.ts";
import { verbAnswer } from "./answer.ts";
import { newEntry, trim, type Entry } from "./entry.ts";
import { Gathered } from "./gathered.ts";
import type { Hear, Hypervisor } from "./hypervisor.ts";
import { Output } from "./output.ts";
import { readAll, readReadable } from "./reading.ts";
import { createRecorder, type Recorded } from "./recorder.ts";
import {
  evidenceBody,
  foldEvidence,
  foldOutput,
  foldRecord,
  indexStream,
  operationStream,
  outputBody,
  requestedBody,
  settledBody,
} from "./records.ts";
import type { Mirror } from "./spool.ts";

/** `operate`: records the Operation, acts, settles. Needs nothing but the Hypervisor to act. */
export interface Power {
  /** Answers once it is recorded or `recordMs` have passed; the Verb runs on, whoever asked and whether or not they stay. */
  submit(request: Submission): Promise<Submitted>;
  /** Runs a Verb and waits for its end: the answer of POST /api/pve/{verb}. */
  runAndWait(target: string, verb: Verb, by: string): Promise<VerbAnswer>;
  /** Plain status: no Operation, nothing recorded. Equal calls at the same time share one. */
  status(
    target: string,
  ): Promise<HostReport | { readonly kind: "unknown_target" } | { readonly kind: "no_power" }>;
  /** The mutating Operation under way. */
  current(target: string): Operation | null;
  /** The newest mutating Operation that does not hold the Target (any more). Without an outcome it is not known yet. */
  last(target: string): Operation | null;
  /** All that was before the start has been read; until then, and where it cannot be, history may lack something. */
  remembers(): boolean;
  /** Newest first, without output. */
  history(target: string, limit?: number): readonly Operation[];
  /**
   * One Operation with its kept output and forensics; undefined when there is none by this id. Where only these cannot
   * be read, a sentence stands in their place; rejects when nothing of it is known and the store cannot be read.
   */
  get(id: OperationId): Promise<Operation | undefined>;
  /** The picture of the machine's screen that was taken before the Verb: a PNG. */
  screen(id: OperationId): Promise<Buffer | null>;
  watch(listener: (change: OperationNews) => void): () => void;
  /**
   * Call once at the start: reads what was, and asks the hypervisor what became of that which a stopped server left
   * open. Never rejects, and takes `readBeforeMs` and `recordMs` at most: the hypervisor's answers come later, and what
   * could not be read is logged, and is not in the history.
   */
  recover(): Promise<void>;
  /** Waits a little for the record. Jobs on the hypervisor go on. */
  close(): Promise<void>;
}

export interface Submission {
  readonly target: string;
  readonly verb: Verb;
  readonly key: OperationId;
  readonly by: string;
  /** The mutating Operation that the Operator saw last; null: they saw that there was none; undefined: do not check. */
  readonly after?: OperationId | null | undefined;
}

export type Submitted =
  /** `settled` never rejects. For a repeated key it is the same Operation, which acts once. */
  | { readonly kind: "accepted"; readonly operation: Operation; readonly settled: Promise<Operation> }
  | { readonly kind: "busy"; readonly holder: Operation }
  | { readonly kind: "stale"; readonly latest: Operation }
  | { readonly kind: "mismatch"; readonly operation: Operation }
  | { readonly kind: "unknown_target" }
  | { readonly kind: "no_power" };

/** `operation` comes without its output: what is new of it is in `output`, at its offset (UTF-16 units). */
export interface OperationNews {
  readonly operation: Operation;
  readonly output?: { readonly from: number; readonly text: string };
}

export interface PowerDeps {
  /** A Target without a power side has null. */
  readonly targets: ReadonlyMap<string, Hypervisor | null>;
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: () => OperationId;
  /**
   * Resolves with true when the guest is seen to have booted after `since`, with false when it was not in time or
   * `signal` ended the waiting. A Target without a guest side is not in it.
   */
  readonly comesBack: ReadonlyMap<string, (since: Date, signal: AbortSignal) => Promise<boolean>>;
  /** Ends the waiting for a Verb, never its job (BREAKGLASS_PVE_VERB_TIMEOUT_SECONDS). */
  readonly verbTimeoutMs: number;
  readonly log: (text: string) => void;
  /** Where what waits for the store is kept too (recorder.ts). */
  readonly mirror?: Mirror | undefined;
}

/** Recording has so long; then the Verb goes on, and the Operation says `durable: false`. */
const recordMs = 500;
/** Reading what was before the start has so long; what is not read by then is not in the history. */
const readBeforeMs = 1_500;
const closeMs = 2_000;

export function createPower(deps: PowerDeps): Power {
  const { clock, comesBack, log, newId, store, targets, verbTimeoutMs } = deps;
  const recorder = createRecorder({ store, clock, log, mirror: deps.mirror });
  const listeners = new Set<(change: OperationNews) => void>();
  const currents = new Map<string, Entry>();
  /** Resets whose cure nobody has seen yet, by Target: whatever is done next would be taken for it. */
  const waitsForGuest = new Map<string, AbortController>();
  const sharedStatus = new Map<string, Promise<HostReport>>();
  let entries = new Map<OperationId, Entry>();
  let closed = false;
  let remembers = false;

  async function submit({ target, verb, key, by, after }: Submission): Promise<Submitted> {
    const hypervisor = targets.get(target);
    if (hypervisor === undefined) return { kind: "unknown_target" };
    const known = entries.get(key);
    if (known !== undefined) return repeated(known, target, verb);
    if (hypervisor === null) return { kind: "no_power" };
    const { mutating } = verbs[verb];
    if (mutating) {
      const holder = currents.get(target);
      if (holder !== undefined) return { kind: "busy", holder: holder.operation };
      const latest = last(target);
      if (after !== undefined && latest !== null && latest.id !== after) return { kind: "stale", latest };
    }
    const entry = newEntry({ id: key, target, verb, by, requested_at: now(), durable: true, output: "" });
    entries.set(key, entry);
    trim(entries);
    // From here to the act there is one await, the record's: nobody else can have passed the checks above.
    if (mutating) {
      currents.set(target, entry);
      waitsForGuest.get(target)?.abort();
    }
    entry.asked = begin(entry, hypervisor);
    return repeated(entry, target, verb);
  }

  async function begin(entry: Entry, hypervisor: Hypervisor): Promise<void> {
    const recorded = await record(entry, requestedBody(entry.operation), true);
    if (recorded === "duplicate") return usedBefore(entry);
    entry.operation = { ...entry.operation, durable: entry.notDurable === 0 };
    tell({ operation: entry.operation });
    void act(entry, hypervisor);
  }

  /** The key is older than what memory knows: nothing is done, and its Operation is the answer. */
  async function usedBefore(entry: Entry): Promise<void> {
    const { id, target } = entry.operation;
    entries.delete(id);
    if (currents.get(target) === entry) currents.delete(target);
    const before = await get(id);
    if (before === undefined) throw new Error(`operation/${id} exists in the store and cannot be read back.`);
    entry.operation = before;
    entry.output = null;
    entry.settled.resolve(before);
  }

  async function act(entry: Entry, hypervisor: Hypervisor): Promise<void> {
    const { id, verb, target } = entry.operation;
    const callOff = clock.after(verbTimeoutMs, () => void settle(entry, unanswered(verb)));
    const hear = hearFor(entry);
    const report = await reportOf(entry, async () => {
      if (verb !== "status") return hypervisor.run(verb, id, hear);
      const shared = await shareStatus(target, hypervisor);
      hear.output(shared.stdout + shared.stderr);
      return shared;
    });
    callOff();
    await conclude(entry, report);
  }

  /** What a stopped server left open: the hypervisor knows what became of it. Nothing is sent that acts. */
  async function askAfter(entry: Entry, hypervisor: Hypervisor): Promise<void> {
    const { id, requested_at } = entry.operation;
    const report = await reportOf(entry, () => hypervisor.attach(id, new Date(requested_at), hearFor(entry)));
    await conclude(entry, report);
  }

  async function reportOf(entry: Entry, ask: () => Promise<HostReport>): Promise<HostReport> {
    const { verb, target } = entry.operation;
    try {
      return await ask();
    } catch (error) {
      // A Hypervisor never throws: this is our fault, and the machine may have been touched all the same.
      log(`power: ${verb} on ${target} failed within the server: ${String(error)}`);
      return {
        exit_code: null,
        stdout: "",
        stderr: `The server failed while it ran ${verb}. Ask for status before you act again.\n`,
      };
    }
  }

  async function conclude(entry: Entry, report: HostReport): Promise<void> {
    const { verb } = entry.operation;
    const { exit_code } = report;
    entry.report = report;
    const observed = hostResult(report.stdout);
    if (observed?.forensics_id != null) {
      entry.evidence ??= new Gathered();
      entry.evidence.id = observed.forensics_id;
      entry.evidence.verdict = observed.verdict ?? null;
    }
    // Our own end is none of the Verb's: the next start asks what became of it.
    if (closed && exit_code === null) return;
    const outcome = outcomeOf(verb, report);
    if (verb !== "reset" || outcome.kind !== "done") return settle(entry, { outcome, exit_code });
    entry.known = seeCured(entry, outcome, observed?.pid_after);
    await settle(entry, { outcome: { kind: "unknown", reason: resetAccepted }, exit_code });
  }

  /**
   * "Accepted" is not "cured": a Reset is done when the guest was seen to boot after it, in the same QEMU process. Another
   * one is a cycle's, whoever asked for that, and proves nothing.
   */
  async function seeCured(entry: Entry, outcome: Outcome, pid: number | null | undefined): Promise<void> {
    const { id, target, requested_at } = entry.operation;
    const hypervisor = targets.get(target);
    const newest = newestFirst(target).find(({ verb }) => verbs[verb].mutating);
    if (newest?.id !== id || !hypervisor) return;
    const waiting = new AbortController();
    waitsForGuest.set(target, waiting);
    const cameBack = await comesBack.get(target)?.(new Date(requested_at), waiting.signal);
    if (waitsForGuest.get(target) === waiting) waitsForGuest.delete(target);
    if (cameBack !== true || waiting.signal.aborted) return;
    const now = hostResult((await shareStatus(target, hypervisor)).stdout);
    if (typeof pid === "number" && now?.pid_after === pid && !waiting.signal.aborted)
      await settle(entry, { outcome, exit_code: 0 });
  }

  /**
   * The first settling frees the Target and answers those who wait. What comes after `verbTimeoutMs` settles once more:
   * "unknown" may become known, and nothing else ever changes.
   */
  async function settle(
    entry: Entry,
    end: Pick<Required<Operation>, "outcome" | "exit_code">,
  ): Promise<void> {
    if (
      entry.operation.outcome !== undefined &&
      (entry.operation.outcome.kind !== "unknown" || end.outcome.kind === "unknown")
    )
      return;
    const { target } = entry.operation;
    entry.output?.flush();
    entry.operation = { ...entry.operation, ...end, settled_at: now(), durable: entry.notDurable === 0 };
    // Free as soon as it is seen as settled: who reads the Outcome may act on it at once.
    if (currents.get(target) === entry) currents.delete(target);
    await record(entry, settledBody(entry.operation, entry.evidence), false);
    entry.operation = { ...entry.operation, durable: entry.notDurable === 0 };
    tell({ operation: entry.operation });
    entry.settled.resolve(whole(entry));
  }

  /** In its own stream and in the index, within `recordMs`; later it is still written, and counted as durable then. */
  async function record(
    entry: Entry,
    body: ReturnType<typeof requestedBody>,
    first: boolean,
  ): Promise<Recorded | "late"> {
    if (!entry.recorded) return "durable";
    const { id } = entry.operation;
    entry.notDurable++;
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    const callOff = clock.after(recordMs, () => resolve("late"));
    try {
      const own = recorder.record(operationStream(id), body, { first });
      // A key that was used before is in the index already. When that is not known in time the Verb acts: it belongs there.
      if (first && (await Promise.race([own, late])) === "duplicate") return "duplicate";
      const both = Promise.all([own, recorder.record(indexStream, body)]).then(([own, index]): Recorded => {
        if (own === "duplicate") return own;
        if (own === "lost" || index === "lost") return "lost";
        entry.notDurable--;
        return "durable";
      });
      return await Promise.race([both, late]);
    } finally {
      callOff();
    }
  }

  /** Output is told and recorded from its first piece on; what is not recorded (status) is only told. */
  function hearFor(entry: Entry): Hear {
    const { operation, recorded } = entry;
    const keep = (body: Body) => {
      if (recorded) void recorder.record(operationStream(operation.id), body, { spare: true });
    };
    const newOutput = () =>
      new Output(
        clock,
        (from, text) => tell({ operation: entry.operation, output: { from, text } }),
        (from, text) => keep(outputBody(from, text)),
      );
    return {
      output: (text) => (entry.output ??= newOutput()).add(text),
      evidence(evidence) {
        (entry.evidence ??= new Gathered()).add(evidence);
        keep(evidenceBody(evidence));
      },
    };
  }

  function shareStatus(target: string, hypervisor: Hypervisor): Promise<HostReport> {
    const shared = sharedStatus.get(target);
    if (shared !== undefined) return shared;
    const asked = hypervisor.run("status", newId(), unheard).finally(() => sharedStatus.delete(target));
    sharedStatus.set(target, asked);
    return asked;
  }

  async function status(target: string): ReturnType<Power["status"]> {
    const hypervisor = targets.get(target);
    if (hypervisor === undefined) return { kind: "unknown_target" };
    if (hypervisor === null) return { kind: "no_power" };
    return shareStatus(target, hypervisor);
  }

  function last(target: string): Operation | null {
    const holder = currents.get(target)?.operation.id;
    return newestFirst(target).find(({ id, verb }) => verbs[verb].mutating && id !== holder) ?? null;
  }

  function newestFirst(target: string): Operation[] {
    const all = [...entries.values()].filter(
      ({ operation, recorded }) => recorded && operation.target === target,
    );
    return all.map(({ operation }) => operation).toReversed();
  }

  async function get(id: OperationId): Promise<Operation | undefined> {
    const entry = entries.get(id);
    if (entry?.output || entry?.evidence) return whole(entry);
    const reading = readAll(store, operationStream(id));
    if (entry !== undefined) {
      const kept = reading.then(keptOf).catch((error: unknown) => {
        log(`power: the output of operation ${id} could not be read: ${String(error)}`);
        return unread;
      });
      return { ...entry.operation, ...((await within(clock, recordMs, kept)) ?? unread) };
    }
    const records = await reading;
    const folded = new Map<OperationId, Operation>();
    for (const each of records) foldRecord(folded, each);
    const operation = folded.get(id);
    return operation && { ...operation, ...keptOf(records) };
  }

  async function screen(id: OperationId): Promise<Buffer | null> {
    const inMemory = entries.get(id)?.evidence?.screen;
    return inMemory ?? foldEvidence(await readAll(store, operationStream(id))).screen;
  }

  async function recover(): Promise<void> {
    const found = new Map<OperationId, Operation>();
    const stop = new AbortController();
    const read = await within(
      clock,
      readBeforeMs,
      readReadable({ store, signal: stop.signal }, indexStream, (each) => foldRecord(found, each)).then(
        (missing) => ({ missing }),
      ),
    );
    const { missing } = read ?? {
      missing: `the rest could not be read: the disk did not answer in ${readBeforeMs} ms`,
    };
    stop.abort();
    if (missing !== null)
      log(
        `power: of the operations before this start ${found.size} are known; ${missing}. Verbs work, and nothing was removed. Look at the disk, then restart the server.`,
      );
    const before = new Map<OperationId, Entry>();
    for (const [id, operation] of found) {
      if (entries.has(id)) continue;
      const entry = newEntry(operation);
      before.set(id, entry);
      if (operation.outcome !== undefined) entry.settled.resolve(operation);
    }
    entries = new Map([...before, ...entries]);
    remembers = missing === null;
    const open = [...before.values()].filter(({ operation }) => operation.outcome === undefined);
    if (missing === null) await Promise.all(open.map((entry) => leftOpen(entry)));
    // How it ended may be on record where it could not be read: nothing is written over that.
    else
      for (const entry of open) {
        entry.operation = { ...entry.operation, outcome: endUnread, exit_code: null, settled_at: now() };
        entry.settled.resolve(entry.operation);
      }
    trim(entries);
  }

  /** A mutating Verb is a Job, which the hypervisor can be asked about; nobody waits for its answer here. */
  async function leftOpen(entry: Entry): Promise<void> {
    const { target, verb } = entry.operation;
    const hypervisor = targets.get(target);
    if (hypervisor && verbs[verb].mutating) void askAfter(entry, hypervisor);
    else await settle(entry, { outcome: notAsked(verb), exit_code: null });
  }

  function tell(change: OperationNews): void {
    for (const listener of listeners) listener(change);
  }

  const now = () => clock.now().toISOString();

  return {
    submit,
    status,
    last,
    get,
    screen,
    recover,
    remembers: () => remembers,
    runAndWait: (target, verb, by) =>
      verbAnswer({ submit, status, entryOf: (id) => entries.get(id), newId }, { target, verb, by }),
    current: (target) => currents.get(target)?.operation ?? null,
    history: (target, limit = 100) => newestFirst(target).slice(0, limit),
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      for (const { output } of entries.values()) output?.flush();
      await recorder.close(closeMs);
    },
  };
}

async function repeated(entry: Entry, target: string, verb: Verb): Promise<Submitted> {
  await entry.asked;
  const { operation } = entry;
  if (operation.target !== target || operation.verb !== verb) return { kind: "mismatch", operation };
  return { kind: "accepted", operation: whole(entry), settled: entry.settled.promise };
}

function whole({ operation, output, evidence }: Entry): Operation {
  const forensics = evidence?.forensics;
  return { ...operation, ...(output && { output: output.text }), ...(forensics && { forensics }) };
}

function keptOf(records: readonly StoredRecord[]): Pick<Operation, "output" | "forensics"> {
  const { forensics } = foldEvidence(records);
  return { output: foldOutput(records), ...(forensics && { forensics }) };
}

const unheard: Hear = { output: () => {}, evidence: () => {} };

function unanswered(verb: Verb): Pick<Required<Operation>, "outcome" | "exit_code"> {
  const reason = `The hypervisor has not finished ${verb} in the time given to wait. It still may be running there: ask for status before you act again.`;
  return { outcome: { kind: "unknown", reason }, exit_code: null };
}

function notAsked(verb: Verb): Outcome {
  return {
    kind: "unknown",
    reason: `The server stopped while ${verb} was under way; it may have been carried out. Ask for status before you act again.`,
  };
}

const endUnread: Outcome = {
  kind: "unknown",
  reason:
    "The record of how it ended could not be read; it may have been carried out. Ask for status before you act again.",
};

const resetAccepted =
  "The hypervisor accepted the reset, and the same QEMU process goes on. It is a cure only when the machine is seen to boot: if it does not, cycle.";

const unread = {
  output: "[Its output could not be read now. What else is said of it is true: ask again later.]\n",
};
