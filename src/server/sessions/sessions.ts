import type { SessionSummary } from "../../protocol/api.ts";
import type { SessionId } from "../../protocol/ids.ts";
import type { Store } from "../store/store.ts";
import { Catalogue, type SessionFacts } from "./catalogue.ts";
import { nameCharsMax, sessionsOpenMax, type SessionLimits } from "./limits.ts";
import { Session, sessionStream, type Prompt, type PromptAnswer, type SessionDeps } from "./session.ts";

export type SessionsDeps = Omit<SessionDeps, "takeTurn" | "refuseForRoom"> & {
  readonly newSessionId: () => SessionId;
  readonly limits: SessionLimits;
};

/** All Sessions: made, listed, opened when somebody asks for one, and stopped together. */
export class Sessions {
  readonly #deps: SessionsDeps;
  readonly #catalogue: Catalogue;
  readonly #open = new Map<SessionId, Promise<Session>>();
  #turns = 0;
  #closing = false;

  static async open(deps: SessionsDeps): Promise<Sessions> {
    return new Sessions(deps, await Catalogue.open(deps));
  }

  private constructor(deps: SessionsDeps, catalogue: Catalogue) {
    this.#deps = deps;
    this.#catalogue = catalogue;
  }

  get turnsRunning(): number {
    return this.#turns;
  }

  /** Throws a StoreError when the Session could not be recorded; then there is none. */
  async create(by: string): Promise<SessionId> {
    const id = this.#deps.newSessionId();
    await this.#catalogue.created(id, by);
    return id;
  }

  async list(): Promise<readonly SessionSummary[]> {
    return Promise.all(this.#catalogue.newestFirst().map((facts) => this.#summary(facts)));
  }

  async summary(id: SessionId): Promise<SessionSummary | undefined> {
    const facts = this.#catalogue.get(id);
    return facts && this.#summary(facts);
  }

  async change(
    id: SessionId,
    change: { readonly name?: string; readonly archived?: boolean },
    by: string,
  ): Promise<void> {
    await this.#catalogue.changed(id, change, by);
  }

  /** undefined when there is no such Session. Its writer opens with it, so that a crashed Turn is settled. */
  async get(id: SessionId): Promise<Session | undefined> {
    if (!(await this.#exists(id))) return undefined;
    let opening = this.#open.get(id);
    if (opening === undefined) {
      opening = Session.open(this.#sessionDeps(), id);
      opening.catch(() => this.#open.delete(id));
    }
    // Last in the map is most recently used.
    this.#open.delete(id);
    this.#open.set(id, opening);
    const session = await opening;
    await this.#letIdleGo();
    return session;
  }

  /** The first prompt names a Session that nobody has named. */
  async prompt(session: Session, prompt: Prompt): Promise<PromptAnswer> {
    if (this.#closing) return { kind: "closing" };
    const answer = await session.prompt(prompt);
    if (answer.kind === "started" && this.#catalogue.get(session.id)?.name === "") {
      const name = prompt.text.trim().split("\n")[0]?.slice(0, nameCharsMax) ?? "";
      await this.#catalogue.changed(session.id, { name }, prompt.by).catch(this.#deps.report);
    }
    return answer;
  }

  /** Takes no new Turns, stops the running ones, and lets the agents go. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(
      [...this.#open.values()].map(async (opening) => {
        const session = await opening.catch(() => undefined);
        await session?.close();
      }),
    );
  }

  async #exists(id: SessionId): Promise<boolean> {
    return this.#catalogue.get(id) !== undefined || (await this.#deps.store.head(sessionStream(id))) >= 0;
  }

  async #summary({ id, name, createdAt, by, archived }: SessionFacts): Promise<SessionSummary> {
    const running = (await this.#open.get(id)?.catch(() => undefined))?.running ?? false;
    return { session_id: id, name, created_at: createdAt, by, archived, running };
  }

  #sessionDeps(): SessionDeps {
    const { limits } = this.#deps;
    return {
      ...this.#deps,
      takeTurn: () => {
        if (this.#turns >= limits.turnsAtOnceMax)
          return { kind: "too_many", turnsAtOnceMax: limits.turnsAtOnceMax };
        this.#turns += 1;
        return { release: () => void (this.#turns -= 1) };
      },
      refuseForRoom: () => refuseForRoom(this.#deps.store, limits.reserveBytes),
    };
  }

  async #letIdleGo(): Promise<void> {
    for (const [id, opening] of this.#open) {
      if (this.#open.size <= sessionsOpenMax) return;
      const session = await opening.catch(() => undefined);
      if (session?.running) continue;
      this.#open.delete(id);
      await session?.close();
    }
  }
}

/** A disk that does not say how much is free is no reason to refuse: the append itself will tell. */
async function refuseForRoom(store: Store, reserveBytes: number): Promise<PromptAnswer | null> {
  const freeBytes = await store.freeBytes().catch(() => reserveBytes);
  return freeBytes < reserveBytes ? { kind: "no_room", freeBytes } : null;
}
