import type { Clock } from "../../clock.ts";

/** Commits that write and flush at the same time, over all streams. */
const commitsAtOnceMax = 2;

/** A commit that takes longer gives its place to the next stream. It goes on, but no longer holds others up. */
const slowCommitMs = 1000;

/**
 * A hung flush keeps one of Node's threads for as long as it hangs (main.mjs asks for twelve; by itself Node has four). With
 * slow ones counted at most three are in commits, so that reading goes on. At the limit the disk as a whole hangs: all commits wait.
 */
const commitThreadsMax = 3;

/** Lets the commits of all streams through in the order in which they ask. */
export class CommitGate {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #quick = 0;
  #slow = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#open) this.#quick++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let slow = false;
    const callOff = this.#clock.after(slowCommitMs, () => {
      slow = true;
      this.#quick--;
      this.#slow++;
      this.#admit();
    });
    try {
      return await work();
    } finally {
      callOff();
      if (slow) this.#slow--;
      else this.#quick--;
      this.#admit();
    }
  }

  get #open(): boolean {
    return this.#quick < commitsAtOnceMax && this.#quick + this.#slow < commitThreadsMax;
  }

  #admit(): void {
    while (this.#open && this.#waiting.length > 0) {
      this.#quick++;
      this.#waiting.shift()!();
    }
  }
}
