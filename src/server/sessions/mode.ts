import { grantMinutes, type Mode, type ModeNow } from "../../protocol/api.ts";
import type { Clock } from "../clock.ts";

/** How far the agent of one Session may go, as its log says, the configuration allows and the clock has it. */
export class SessionMode {
  readonly #clock: Clock;
  readonly #configured: () => Mode;
  readonly #onChange = new Set<() => void>();
  /** null: nobody has set it, so that the configured one holds. */
  #set: ModeNow | null;
  #callOff = () => {};

  constructor(deps: { readonly clock: Clock; readonly configured: () => Mode }, set: ModeNow | null) {
    this.#clock = deps.clock;
    this.#configured = deps.configured;
    this.#set = set;
    this.#awaitEnd();
  }

  /** By the clock at each asking: a grant is over when its time has come, whether or not a timer was in time. */
  now(): ModeNow {
    if (this.#set?.until !== undefined && !isWithinGrant(this.#set.until, this.#clock.now()))
      this.#endGrant();
    return modeNow(this.#set, this.#configured());
  }

  /** What an Operator's wish for `mode` comes to now. */
  wish(mode: Mode): ModeNow {
    return modeWished(mode, this.now(), this.#configured(), this.#clock.now());
  }

  set(mode: ModeNow): void {
    this.#set = mode;
    this.#awaitEnd();
    for (const callback of this.#onChange) callback();
  }

  /** Calls back when another mode holds, also when a grant is over. */
  watch(callback: () => void): () => void {
    this.#onChange.add(callback);
    return () => this.#onChange.delete(callback);
  }

  close(): void {
    this.#callOff();
  }

  /** `leftMs` as timers count, which nobody sets: a clock that is set back makes no grant longer. */
  #awaitEnd(leftMs = grantMs): void {
    this.#callOff();
    const { until } = this.now();
    if (until === undefined) return;
    const left = Math.min(leftMs, Date.parse(until) - this.#clock.now().getTime());
    const step = Math.min(left, lookAgainMs);
    this.#callOff = this.#clock.after(step, () => {
      if (left <= step) this.#endGrant();
      this.#awaitEnd(left - step);
      if (this.now().until === until) return;
      for (const callback of this.#onChange) callback();
    });
  }

  /** For good: a clock that is set back does not bring it back. */
  #endGrant(): void {
    const back = this.#set?.back_to;
    this.#set = back === undefined ? null : { mode: back };
  }
}

/** A stricter one holds before it is recorded. */
export function isStricter(mode: Mode, than: Mode): boolean {
  return modes.indexOf(mode) < modes.indexOf(than);
}

const modes: readonly Mode[] = ["observe", "supervised", "autonomous"];

const grantMs = grantMinutes * 60_000;

/** A clock that was set in the meantime is noticed by then. */
const lookAgainMs = 60_000;

/** One with more left than was ever granted is of a clock that has been set back; by a little it is corrected all the time. */
function isWithinGrant(until: string, now: Date): boolean {
  const left = Date.parse(until) - now.getTime();
  return left > 0 && left <= grantMs + lookAgainMs;
}

function modeNow(set: ModeNow | null, configured: Mode): ModeNow {
  if (set === null) return { mode: configured };
  if (set.until !== undefined) return set;
  // Only the configuration gives it without an end, and may have become stricter since.
  if (set.mode === "autonomous" && configured !== "autonomous") return { mode: configured };
  return { mode: set.mode };
}

function modeWished(mode: Mode, before: ModeNow, configured: Mode, now: Date): ModeNow {
  if (mode !== "autonomous" || configured === "autonomous") return { mode };
  const until = new Date(now.getTime() + grantMs).toISOString();
  return { mode, until, back_to: before.back_to ?? before.mode };
}
