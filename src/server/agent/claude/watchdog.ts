import type { Clock } from "../../clock.ts";

export interface WatchdogOptions {
  readonly clock: Clock;
  readonly silenceMs: number;
  readonly wallMs: number;
  /** While true silence is not counted: a brokered command works, and what it does is seen by the Broker. */
  readonly busy: () => boolean;
  /** While true no time is counted: a person has to decide. */
  readonly waiting: () => boolean;
}

/** The limits of a Turn are kept to this part of the shorter one, and at worst to a second. */
const ticksPerLimit = 8;
const tickMsMax = 1000;

export interface Watchdog {
  /** Something came. */
  heard(): void;
  stop(): void;
}

/** Calls back once, when a limit is reached. Some hangs of the agent give no event at all: only this ends them. */
export function watch(options: WatchdogOptions, onLimit: (limit: "silence" | "wall") => void): Watchdog {
  const tickMs = Math.min(
    tickMsMax,
    Math.max(1, Math.min(options.silenceMs, options.wallMs) / ticksPerLimit),
  );
  let silentMs = 0;
  let workedMs = 0;
  let cancel = options.clock.after(tickMs, tick);
  function tick() {
    const waiting = options.waiting();
    if (!waiting) workedMs += tickMs;
    silentMs = waiting || options.busy() ? 0 : silentMs + tickMs;
    if (silentMs >= options.silenceMs) onLimit("silence");
    else if (workedMs >= options.wallMs) onLimit("wall");
    else cancel = options.clock.after(tickMs, tick);
  }
  return {
    heard: () => void (silentMs = 0),
    stop: () => cancel(),
  };
}
