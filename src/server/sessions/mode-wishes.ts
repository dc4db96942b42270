import type { Mode, ModeNow } from "../../protocol/api.ts";
import type { ModeAnswer } from "./answers.ts";
import { isStricter, type SessionMode } from "./mode.ts";

interface ModeWishesDeps {
  readonly mode: SessionMode;
  /** Resolves when it is on disk; in the order of the calls. */
  readonly record: (mode: ModeNow, by: string) => Promise<void>;
  /** Rejects when the disk does not take it in time; it may come to the record all the same. */
  readonly inTime: (recorded: Promise<void>) => Promise<void>;
}

/** What Operators wish the mode to be. What holds is the last word on it in the record, or is owed to the record. */
export class ModeWishes {
  readonly #deps: ModeWishesDeps;
  /** Of all that was given to the disk. */
  #newest = 0;
  #open = 0;
  #owed = false;

  constructor(deps: ModeWishesDeps) {
    this.#deps = deps;
  }

  /** The record says what holds. */
  get settled(): boolean {
    return !this.#owed;
  }

  /** A stricter mode holds at once, whatever the disk says; a wider one only once it is on record, in time and not overtaken. */
  async wish(mode: Mode, by: string): Promise<ModeAnswer> {
    const now = this.#deps.mode.now();
    const wished = this.#deps.mode.wish(mode);
    const atOnce = wished.until === undefined && !isStricter(now.mode, mode);
    if (atOnce && now.mode === mode && now.until === undefined && this.settled)
      return { kind: "set", mode: now };
    if (atOnce) this.#deps.mode.set(wished);
    const number = this.#newest + 1;
    let holds = atOnce;
    let late = false;
    const recorded = this.#record(wished, by, () => {
      if (holds || late) return;
      holds = true;
      this.#deps.mode.set(wished);
    });
    const failure = await this.#deps.inTime(recorded).then(() => null, messageOf);
    late = true;
    const newest = number === this.#newest;
    // Should it come to the record after all, what holds stands behind it.
    if (newest && !holds) this.#sayWhatHolds();
    const after = this.#deps.mode.now();
    if (!newest && after.mode !== mode) return { kind: "overtaken", mode: after };
    if (failure === null || (holds && !atOnce)) return { kind: "set", mode: after };
    return { kind: "unrecorded", holds: holds || !newest, reason: failure };
  }

  /** Tries again to record what is owed. Never rejects, and waits for nothing. */
  settle(): void {
    if (this.#owed && this.#open === 0) this.#sayWhatHolds();
  }

  #sayWhatHolds(): void {
    // What fails stays owed: whoever asks for the Session next has it tried again.
    this.#record(this.#deps.mode.now(), ourselves).catch(() => {});
  }

  async #record(mode: ModeNow, by: string, takeHold = () => {}): Promise<void> {
    const number = ++this.#newest;
    this.#owed = true;
    this.#open += 1;
    await this.#deps.record(mode, by).finally(() => (this.#open -= 1));
    if (number === this.#newest) {
      takeHold();
      this.#owed = false;
    } else {
      this.settle();
    }
  }
}

/** In the record, the actor of what no Operator wished. */
const ourselves = "breakglass";

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
