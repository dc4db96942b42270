import { within, type Clock } from "./clock.ts";
import { openFiles } from "./store/files/files.ts";
import { lateStore } from "./store/late.ts";
import { StoreError, type Store } from "./store/store.ts";

/** A data directory that has not opened by then hangs: the server goes on without it, and takes it when it answers. */
const openMs = 500;
/** One that refuses is asked again this often. */
const againMs = 10_000;

export interface OpenRecord {
  readonly store: Store;
  /** Why nothing is recorded at present; null: the record is open. */
  problem(): string | null;
  /** Never rejects: a record that opens later is as good. */
  readonly opened: Promise<void>;
}

/**
 * Opens the data directory, however long that takes: Verbs do not wait for it. Rejects with a StoreError "taken" when it belongs
 * to another server.
 */
export async function openRecord(deps: {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: { warn(text: string): void };
}): Promise<OpenRecord> {
  const { directory, clock, log } = deps;
  const open = () => openFiles({ directory, report: (notice) => log.warn(notice) });
  const first = open();
  let problem: string | null =
    `The data directory ${directory} did not open within ${openMs} ms: its disk hangs. It is taken as soon as it answers.`;
  try {
    const store = await within(clock, openMs, first);
    if (store !== null) return { store, problem: () => null, opened: Promise.resolve() };
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind === "taken") throw error;
    problem = error.message;
  }
  log.warn(`${problem} Verbs work all the same.`);
  const late = lateStore(problem);

  async function keepTrying(): Promise<void> {
    for (let opening = first; ; opening = open()) {
      try {
        late.open(await opening);
        problem = null;
        log.warn(`The data directory ${directory} is open: what is done from here on is recorded again.`);
        return;
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
        await new Promise<void>((resolve) => clock.after(againMs, resolve));
      }
    }
  }
  return { store: late.store, problem: () => problem, opened: keepTrying() };
}
