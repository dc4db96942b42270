import { randomUUID } from "node:crypto";
import type { OperationId } from "../../src/protocol/ids.ts";
import type { HostReport, HostResult } from "../../src/protocol/outcome.ts";
import type { Verb } from "../../src/protocol/verbs.ts";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import type { Hear, Hypervisor } from "../../src/server/power/hypervisor.ts";
import { createPower, type Power, type PowerDeps } from "../../src/server/power/power.ts";
import type { Evidence } from "../../src/server/power/steps.ts";
import {
  StoreError,
  type Body,
  type Store,
  type StoredRecord,
  type StreamName,
} from "../../src/server/store/store.ts";

/** A store in memory that can be told to hang or to refuse, and to answer again. */
export class MemoryStore implements Pick<Store, "append" | "head" | "read"> {
  readonly streams = new Map<StreamName, StoredRecord[]>();
  #fault: "none" | "hang" | "refuse" = "none";
  #hanging: (() => void)[] = [];
  appends = 0;
  readFault: "none" | "hang" | "refuse" = "none";
  /** Ids that cannot be read, per stream. */
  readonly damaged = new Map<StreamName, ReadonlySet<number>>();

  set fault(fault: "none" | "hang" | "refuse") {
    this.#fault = fault;
    if (fault !== "hang") for (const wake of this.#hanging.splice(0)) wake();
  }

  async append(
    stream: StreamName,
    bodies: readonly Body[],
    options: { readonly expectedHead?: number } = {},
  ) {
    this.appends++;
    while (this.#fault === "hang") await new Promise<void>((resolve) => this.#hanging.push(resolve));
    if (this.#fault === "refuse") throw new StoreError("unwritable", "The disk is full.");
    const records = this.streams.get(stream) ?? [];
    if (options.expectedHead !== undefined && options.expectedHead !== records.length - 1) {
      throw new StoreError("head_moved", "Somebody was first.");
    }
    const firstId = records.length;
    for (const body of bodies)
      records.push({ ...(JSON.parse(JSON.stringify(body)) as Body), id: records.length });
    this.streams.set(stream, records);
    return { firstId, lastId: records.length - 1 };
  }

  async read(stream: StreamName, after: number, limit: number) {
    if (this.readFault === "hang") await new Promise<never>(() => {});
    if (this.readFault === "refuse") throw new StoreError("unwritable", "The file cannot be opened.");
    const page = (this.streams.get(stream) ?? []).slice(after + 1, after + 1 + limit);
    if (page.some(({ id }) => this.damaged.get(stream)?.has(id)))
      throw new StoreError("damaged", "It does not match its checksum.");
    return page;
  }

  async head(stream: StreamName) {
    return (this.streams.get(stream)?.length ?? 0) - 1;
  }

  kinds(stream: StreamName): string[] {
    return (this.streams.get(stream) ?? []).map(({ kind }) => kind);
  }
}

export interface Call {
  /** "attach" asks what became of a Verb that was sent before. */
  readonly how: "run" | "attach";
  readonly verb: Verb | null;
  readonly job: OperationId;
  readonly say: (text: string) => void;
  readonly show: (evidence: Evidence) => void;
  readonly answer: (report: Partial<HostReport>) => void;
}

/** A hypervisor whose answers the test gives. */
export class ScriptedHypervisor implements Hypervisor {
  readonly calls: Call[] = [];
  #waiting: ((call: Call) => void)[] = [];

  run(verb: Verb, job: OperationId, hear: Hear): Promise<HostReport> {
    return this.#call("run", verb, job, hear);
  }

  attach(job: OperationId, _askedAt: Date, hear: Hear): Promise<HostReport> {
    return this.#call("attach", null, job, hear);
  }

  #call(how: Call["how"], verb: Verb | null, job: OperationId, hear: Hear): Promise<HostReport> {
    const { promise, resolve } = Promise.withResolvers<HostReport>();
    const call: Call = {
      how,
      verb,
      job,
      say: (text) => hear.output(text),
      show: (evidence) => hear.evidence(evidence),
      answer: (report) => resolve({ exit_code: 0, stdout: "", stderr: "", ...report }),
    };
    const waiting = this.#waiting.shift();
    if (waiting) waiting(call);
    else this.calls.push(call);
    return promise;
  }

  /** The next call that nobody has taken yet. */
  next(): Promise<Call> {
    const call = this.calls.shift();
    return call ? Promise.resolve(call) : new Promise((resolve) => this.#waiting.push(resolve));
  }
}

export const saw = (state: string, more: Partial<HostResult> = {}) =>
  `BG1 ${JSON.stringify({ result: "done", state_after: state, changed: true, ...more })}\n`;

/** Time passes when the test says so. */
export class ManualClock implements Clock {
  #now = Date.parse("2026-01-01T00:00:00.000Z");
  #timers = new Set<{ at: number; callback: () => void }>();
  now = () => new Date(this.#now);

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  pass(ms: number): void {
    this.#now += ms;
    for (const timer of this.#timers) {
      if (timer.at > this.#now) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
  }
}

export interface Stage {
  readonly power: Power;
  readonly hypervisor: ScriptedHypervisor;
  readonly store: MemoryStore;
  readonly logged: string[];
}

export function stage(deps: Partial<PowerDeps> & { readonly memory?: MemoryStore } = {}): Stage {
  const store = deps.memory ?? new MemoryStore();
  const hypervisor = new ScriptedHypervisor();
  const logged: string[] = [];
  const power = createPower({
    targets: new Map<string, Hypervisor | null>([
      ["devvm", hypervisor],
      ["lamp", null],
    ]),
    store: store as Partial<Store> as Store,
    comesBack: new Map(),
    clock: systemClock,
    newId: () => randomUUID(),
    verbTimeoutMs: 600_000,
    log: (text) => logged.push(text),
    ...deps,
  });
  return { power, hypervisor, store, logged };
}

export const newKey = (): OperationId => randomUUID();
