import type { Session } from "../../src/server/sessions/session.ts";
import type { Sessions } from "../../src/server/sessions/sessions.ts";
import { StoreError, type Store, type StoredRecord } from "../../src/server/store/store.ts";
import { eventsOf } from "../doubles/sessions.ts";

export const say = (text: string) => ({ text, model: undefined, key: undefined, by: "ana" });

export async function newSession(sessions: Sessions): Promise<Session> {
  const session = await sessions.get(await sessions.create("ana"));
  if (session === undefined) throw new Error("a session that was just made is not there");
  return session;
}

/** Resolves when the Turn of `session` has been written to its end. */
export async function turnEnded(store: Store, session: Session): Promise<void> {
  await recorded(store, session, (events) => events.at(-1)?.kind === "turn_end" && !session.running);
}

/** Resolves when the log of `session` is as asked; looked at after every commit. */
export async function recorded(
  store: Store,
  session: Session,
  condition: (events: readonly StoredRecord[]) => boolean,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const look = () => {
      eventsOf(store, session.id).then((events) => {
        if (!condition(events)) return;
        stop();
        resolve();
      }, reject);
    };
    // The place is given back just after the last Event became durable: look again after the commit's own turn.
    const stop = store.watch(`session/${session.id}`, () => setImmediate(look));
    look();
  });
}

export function delegate(store: Store): Store {
  return {
    append: (...args) => store.append(...args),
    head: (...args) => store.head(...args),
    readFrames: (...args) => store.readFrames(...args),
    read: (...args) => store.read(...args),
    watch: (...args) => store.watch(...args),
    list: (...args) => store.list(...args),
    freeBytes: () => store.freeBytes(),
    close: () => store.close(),
  };
}

/** A Store that takes nothing for sessions as long as it is `full`. */
export function mayBeFull(store: Store, { full }: { readonly full: boolean }) {
  const disk = {
    full,
    store: {
      ...delegate(store),
      append: async (stream, bodies, options) => {
        if (disk.full && stream.startsWith("session/"))
          throw new StoreError("unwritable", "The disk is full.");
        return store.append(stream, bodies, options);
      },
    } satisfies Store,
  };
  return disk;
}
