import type { TargetState, TargetStatus } from "../../protocol/targets.ts";
import { within, type Clock } from "../clock.ts";
import {
  evidenceOf,
  judge,
  type GuestSight,
  type LastSights,
  type PowerSight,
  type Sights,
} from "./judge.ts";

interface WatchedTarget {
  readonly name: string;
  readonly isDefault: boolean;
  /** Asks the guest for a sign of life; null where no guest side is configured. A rejection counts as not reached. */
  readonly askGuest: (() => Promise<GuestSight>) | null;
  /** Asks the hypervisor; null where no power side is configured. A rejection counts as not reached. */
  readonly askPower: (() => Promise<PowerSight>) | null;
}

export interface WatchDeps {
  readonly clock: Clock;
  readonly targets: readonly WatchedTarget[];
  /** What others know of a Target: it is told with its state. */
  readonly others: (target: string) => Pick<TargetStatus, "current" | "last" | "refused_host_keys">;
  readonly onChange: (all: readonly TargetStatus[]) => void;
}

/** Between two looks while all is well, and while something is wrong. */
const everyMs: Readonly<Record<Side, number>> = { guest: 10_000, power: 30_000 };
const wrongEveryMs = 5_000;
/** A look without an answer by then counts as not reached; what it answers later is ignored. */
const lookMsMax = 30_000;
/** What is older than so many of its side's calm periods stays to be read as Evidence, and nothing is judged by it. */
const calmPeriodsMax = 3;

/** Looks at every Target, for ever, and says what changed. */
export class Watch {
  readonly #deps: WatchDeps;
  readonly #watchers: readonly Watcher[];

  constructor(deps: WatchDeps) {
    this.#deps = deps;
    this.#watchers = deps.targets.map((target) => new Watcher(target, deps.clock, () => this.changed()));
  }

  start(): void {
    for (const watcher of this.#watchers) watcher.start();
  }

  statuses(): readonly TargetStatus[] {
    return this.#watchers.map((watcher) => ({ ...watcher.status(), ...this.#deps.others(watcher.name) }));
  }

  /** Looks at once, for example after a Verb: nobody waits 30 s to see what it did. */
  lookNow(target: string): void {
    this.#watchers.find(({ name }) => name === target)?.lookNow();
  }

  changed(): void {
    this.#deps.onChange(this.statuses());
  }

  close(): void {
    for (const watcher of this.#watchers) watcher.close();
  }
}

type Side = keyof Sights;
type NotReached = Extract<GuestSight, { readonly kind: "unreachable" }>;

class Watcher {
  readonly #target: WatchedTarget;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #last: LastSights = { guest: null, power: null };
  #sights: Sights = { guest: null, power: null };
  #state: TargetState = "unknown";
  #since: string;
  readonly #stops = new Map<Side, () => void>();
  readonly #forgets = new Map<Side, () => void>();
  #closed = false;

  constructor(target: WatchedTarget, clock: Clock, onChange: () => void) {
    this.#target = target;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#since = clock.now().toISOString();
  }

  get name(): string {
    return this.#target.name;
  }

  start(): void {
    this.#look("guest");
    this.#look("power");
  }

  status(): Omit<TargetStatus, "current" | "last"> {
    return {
      name: this.#target.name,
      is_default: this.#target.isDefault,
      state: this.#state,
      since: this.#since,
      evidence: evidenceOf(this.#last),
      power: this.#target.askPower !== null,
    };
  }

  lookNow(): void {
    // A look under way has no timer to call off, and is answered soon.
    for (const [side, stop] of this.#stops) {
      stop();
      this.#look(side);
    }
  }

  close(): void {
    this.#closed = true;
    for (const stop of [...this.#stops.values(), ...this.#forgets.values()]) stop();
  }

  #look(side: Side): void {
    this.#stops.delete(side);
    const { askGuest, askPower } = this.#target;
    if (side === "guest" && askGuest) void this.#answer(askGuest).then((guest) => this.#saw(side, { guest }));
    if (side === "power" && askPower) void this.#answer(askPower).then((power) => this.#saw(side, { power }));
  }

  /** Never rejects and always settles, whatever the probe does. */
  async #answer<Sight>(ask: () => Promise<Sight>): Promise<(Sight | NotReached) & { readonly at: string }> {
    const notReached = (seen: string): NotReached => ({ kind: "unreachable", seen });
    const sight =
      (await within(this.#clock, lookMsMax, Promise.try(ask)).catch((error: unknown) =>
        notReached(error instanceof Error ? error.message : String(error)),
      )) ?? notReached(`did not answer within ${lookMsMax / 1_000} s`);
    return { ...sight, at: this.#clock.now().toISOString() };
  }

  #saw(side: Side, seen: Partial<LastSights>): void {
    if (this.#closed) return;
    this.#last = { ...this.#last, ...seen };
    this.#forgets.get(side)?.();
    this.#forgets.set(
      side,
      this.#clock.after(calmPeriodsMax * everyMs[side], () => this.#judge({ [side]: null })),
    );
    this.#judge(seen);
    this.#stops.set(
      side,
      this.#clock.after(this.#state === "up" ? everyMs[side] : wrongEveryMs, () => this.#look(side)),
    );
  }

  #judge(news: Partial<Sights>): void {
    this.#sights = { ...this.#sights, ...news };
    const state = judge(this.#sights);
    const wasWrong = this.#state !== "up";
    if (state !== this.#state) {
      this.#state = state;
      this.#since = this.#clock.now().toISOString();
    }
    // Evidence of something wrong is news each time; all well is news once.
    if (state !== "up" || wasWrong) this.#onChange();
  }
}
