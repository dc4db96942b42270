import type { TargetState, TargetStatus } from "../../protocol/targets.ts";
import type { Clock } from "../clock.ts";
import { evidenceOf, judge, type GuestSight, type PowerSight, type Sights } from "./judge.ts";

interface WatchedTarget {
  readonly name: string;
  readonly isDefault: boolean;
  /** Asks the guest for a sign of life; null where no guest side is configured. Never rejects, always settles. */
  readonly askGuest: (() => Promise<GuestSight>) | null;
  /** Asks the hypervisor; null where no power side is configured. Never rejects, always settles. */
  readonly askPower: (() => Promise<PowerSight>) | null;
}

export interface WatchDeps {
  readonly clock: Clock;
  readonly targets: readonly WatchedTarget[];
  readonly operations: (target: string) => Pick<TargetStatus, "current" | "last">;
  readonly onChange: (all: readonly TargetStatus[]) => void;
}

/** Between two looks while all is well, and while something is wrong. */
const guestEveryMs = 10_000;
const powerEveryMs = 30_000;
const wrongEveryMs = 5_000;

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
    return this.#watchers.map((watcher) => ({ ...watcher.status(), ...this.#deps.operations(watcher.name) }));
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

type Side = "guest" | "power";

class Watcher {
  readonly #target: WatchedTarget;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #sights: Sights = { guest: null, power: null };
  #seenAt: string;
  #state: TargetState = "unknown";
  #since: string;
  readonly #stops = new Map<Side, () => void>();
  #closed = false;

  constructor(target: WatchedTarget, clock: Clock, onChange: () => void) {
    this.#target = target;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#since = this.#seenAt = clock.now().toISOString();
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
      evidence: evidenceOf(this.#sights, this.#seenAt),
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
    for (const stop of this.#stops.values()) stop();
  }

  #look(side: Side): void {
    this.#stops.delete(side);
    const { askGuest, askPower } = this.#target;
    if (side === "guest" && askGuest)
      void askGuest().then((guest) => this.#saw(side, { ...this.#sights, guest }));
    if (side === "power" && askPower)
      void askPower().then((power) => this.#saw(side, { ...this.#sights, power }));
  }

  #saw(side: Side, sights: Sights): void {
    if (this.#closed) return;
    this.#sights = sights;
    this.#seenAt = this.#clock.now().toISOString();
    const state = judge(sights);
    const wasWrong = this.#state !== "up";
    if (state !== this.#state) {
      this.#state = state;
      this.#since = this.#seenAt;
    }
    // Evidence of something wrong is news each time; all well is news once.
    if (state !== "up" || wasWrong) this.#onChange();
    const calmMs = side === "guest" ? guestEveryMs : powerEveryMs;
    this.#stops.set(
      side,
      this.#clock.after(state === "up" ? calmMs : wrongEveryMs, () => this.#look(side)),
    );
  }
}
