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
    return modeNow(this.#set, this.#configured(), this.#clock.now());
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

  #awaitEnd(): void {
    this.#callOff();
    const { until } = this.now();
    if (until === undefined) return;
    const ms = Date.parse(until) - this.#clock.now().getTime();
    this.#callOff = this.#clock.after(Math.min(Math.max(ms, 1), lookAgainMs), () => {
      this.#awaitEnd();
      if (this.now().until === until) return;
      for (const callback of this.#onChange) callback();
    });
  }
}

/** A stricter one holds before it is recorded. */
export function isStricter(mode: Mode, than: Mode): boolean {
  return modes.indexOf(mode) < modes.indexOf(than);
}

const modes: readonly Mode[] = ["observe", "supervised", "autonomous"];

/** A clock that was set in the meantime is noticed by then. */
const lookAgainMs = 60_000;

function modeNow(set: ModeNow | null, configured: Mode, now: Date): ModeNow {
  if (set === null) return { mode: configured };
  if (set.until !== undefined) {
    if (now.getTime() < Date.parse(set.until)) return set;
    return modeNow(set.back_to === undefined ? null : { mode: set.back_to }, configured, now);
  }
  // Only the configuration gives it without an end, and may have become stricter since.
  if (set.mode === "autonomous" && configured !== "autonomous") return { mode: configured };
  return { mode: set.mode };
}

function modeWished(mode: Mode, before: ModeNow, configured: Mode, now: Date): ModeNow {
  if (mode !== "autonomous" || configured === "autonomous") return { mode };
  const until = new Date(now.getTime() + grantMinutes * 60_000).toISOString();
  return { mode, until, back_to: before.back_to ?? before.mode };
}
