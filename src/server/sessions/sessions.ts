import type { SessionChange, SessionSummary } from "../../protocol/api.ts";
import type { SessionId } from "../../protocol/ids.ts";
import type { Freeze } from "../broker/freeze.ts";
import type { Store } from "../store/store.ts";
import { Catalogue, type SessionFacts } from "./catalogue.ts";
import { nameCharsMax, neededMs, sessionsOpenMax, type SessionLimits } from "./limits.ts";
import type { Prompt, StartAnswer } from "./answers.ts";
import { Session, sessionStream, type SessionDeps } from "./session.ts";

export type SessionsDeps = Omit<SessionDeps, "takeTurn" | "refuseForRoom"> & {
  readonly newSessionId: () => SessionId;
  readonly limits: SessionLimits;
  /** While somebody has frozen all agents no Turn runs. */
  readonly freeze: Pick<Freeze, "now" | "watch">;
  /** The Targets' names; the first is the default one. */
  readonly targets: readonly string[];
};

export interface RunbookWish {
  readonly name: string;
  /** undefined: the default one. */
  readonly target: string | undefined;
  readonly key: string | undefined;
  readonly by: string;
}

export type RunbookAnswer =
  | StartAnswer
  | { readonly kind: "no_runbook"; readonly there: readonly string[] }
  | { readonly kind: "no_target"; readonly there: readonly string[] };

/** All Sessions: made, listed, opened when somebody asks for one, and stopped together. */
export class Sessions {
  readonly #deps: SessionsDeps;
  readonly #catalogue: Catalogue;
  /** The least recently used first. */
  readonly #open = new Map<SessionId, Opened>();
  /** On their way out: whoever asks for one again waits until its writer is gone. */
  readonly #leaving = new Map<SessionId, Promise<void>>();
  readonly #unwatch: () => void;
  #turns = 0;
  #closing = false;

  static async open(deps: SessionsDeps): Promise<Sessions> {
    return new Sessions(deps, await Catalogue.open(deps));
  }

  private constructor(deps: SessionsDeps, catalogue: Catalogue) {
    this.#deps = deps;
    this.#catalogue = catalogue;
    this.#unwatch = deps.freeze.watch(() => this.#stopFrozen());
  }

  /** Throws a StoreError when the Session could not be recorded; then there is none. */
  async create(by: string): Promise<SessionId> {
    const id = this.#deps.newSessionId();
    await this.#catalogue.created(id, by);
    return id;
  }

  list(): readonly SessionSummary[] {
    return this.#catalogue.newestFirst().map((facts) => this.#summary(facts));
  }

  summary(id: SessionId): SessionSummary | undefined {
    const facts = this.#catalogue.get(id);
    return facts && this.#summary(facts);
  }

  async change(id: SessionId, change: Omit<SessionChange, "mode">, by: string): Promise<void> {
    await this.#catalogue.changed(id, change, by);
  }

  /** undefined when there is no such Session. Its writer opens with it, so that a crashed Turn is settled. */
  async get(id: SessionId): Promise<Session | undefined> {
    if (!(await this.#exists(id))) return undefined;
    await this.#leaving.get(id);
    const known = this.#open.get(id);
    const opened = known ?? this.#begin(id);
    // Last in the map is most recently used.
    this.#open.delete(id);
    this.#open.set(id, opened);
    opened.askedAt = this.#deps.clock.now().getTime();
    const session = await opened.opening;
    if (known !== undefined) await session.mend();
    this.#letIdleGo();
    return session;
  }

  async prompt(session: Session, prompt: Prompt): Promise<StartAnswer> {
    return this.#start(session, prompt.by, prompt.text, () => session.prompt(prompt));
  }

  async runbook(session: Session, { name, target, key, by }: RunbookWish): Promise<RunbookAnswer> {
    const { runbooks, targets } = this.#deps;
    const known = runbooks.list();
    const runbook = known.find((each) => each.name === name);
    if (runbook === undefined) return { kind: "no_runbook", there: known.map((each) => each.name) };
    const on = target ?? targets[0];
    if (on === undefined || !targets.includes(on)) return { kind: "no_target", there: targets };
    return this.#start(session, by, runbook.title, () => session.runbook({ runbook, target: on, key, by }));
  }

  /** What a Session begins with names it, when nobody has. */
  async #start(
    session: Session,
    by: string,
    words: string,
    begin: () => Promise<StartAnswer>,
  ): Promise<StartAnswer> {
    if (this.#closing) return { kind: "closing" };
    const answer = await begin();
    if (answer.kind === "started" && this.#catalogue.get(session.id)?.name === "") {
      const name = nameFrom(words);
      // Not awaited: the Turn runs, whatever becomes of its name.
      this.#catalogue.changed(session.id, { name }, by).catch(this.#deps.report);
    }
    return answer;
  }

  /** Takes no new Turns, stops the running ones, and lets the agents go. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#unwatch();
    await Promise.all(
      [...this.#open.values()].map(async ({ session }) => session?.close()).concat(...this.#leaving.values()),
    );
  }

  #stopFrozen(): void {
    const frozen = this.#deps.freeze.now();
    if (frozen === null) return;
    for (const { session } of this.#open.values())
      session?.stop({ kind: "frozen", by: frozen.by }).catch(this.#deps.report);
  }

  async #exists(id: SessionId): Promise<boolean> {
    return this.#catalogue.get(id) !== undefined || (await this.#deps.store.head(sessionStream(id))) >= 0;
  }

  #summary({ id, name, createdAt, by, archived }: SessionFacts): SessionSummary {
    const running = this.#open.get(id)?.session?.running ?? false;
    return { session_id: id, name, created_at: createdAt, by, archived, running };
  }

  #sessionDeps(): SessionDeps {
    const { limits } = this.#deps;
    return {
      ...this.#deps,
      takeTurn: () => {
        const frozen = this.#deps.freeze.now();
        if (frozen !== null) return { kind: "frozen", ...frozen };
        if (this.#turns >= limits.turnsAtOnceMax)
          return { kind: "too_many", turnsAtOnceMax: limits.turnsAtOnceMax };
        this.#turns += 1;
        return { release: () => void (this.#turns -= 1) };
      },
      refuseForRoom: () => refuseForRoom(this.#deps.store, limits.reserveBytes),
    };
  }

  #begin(id: SessionId): Opened {
    const opened: Opened = { opening: Session.open(this.#sessionDeps(), id), session: null, askedAt: 0 };
    opened.opening.then(
      (session) => (opened.session = session),
      () => this.#open.delete(id),
    );
    return opened;
  }

  /** Two writers of one log must never be: what somebody holds, follows or has just asked for stays. */
  #letIdleGo(): void {
    const recently = this.#deps.clock.now().getTime() - neededMs;
    for (const [id, { session, askedAt }] of this.#open) {
      if (this.#open.size <= sessionsOpenMax) return;
      if (session === null || !session.idle || askedAt > recently) continue;
      this.#open.delete(id);
      const left = session
        .close()
        .catch(this.#deps.report)
        .finally(() => this.#leaving.delete(id));
      this.#leaving.set(id, left);
    }
  }
}

interface Opened {
  readonly opening: Promise<Session>;
  /** null until it is open. */
  session: Session | null;
  askedAt: number;
}

/** A disk that does not say how much is free is no reason to refuse: the append itself will tell. */
async function refuseForRoom(store: Store, reserveBytes: number): Promise<StartAnswer | null> {
  const freeBytes = await store.freeBytes().catch(() => reserveBytes);
  return freeBytes < reserveBytes ? { kind: "no_room", freeBytes } : null;
}

/** The first line, as many whole words of it as fit. */
function nameFrom(words: string): string {
  const [line = ""] = words.trim().split("\n");
  if (line.length <= nameCharsMax) return line;
  const head = line.slice(0, nameCharsMax - 1);
  return `${/^.*\S(?=\s)/.exec(head)?.[0] ?? head}…`;
}
