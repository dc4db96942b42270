import type { SessionId } from "../../protocol/ids.ts";
import { redact } from "../audit/redact.ts";
import type { Clock } from "../clock.ts";
import type { Store, StoredRecord } from "../store/store.ts";
import { sessionsListedMax } from "./limits.ts";

export interface SessionFacts {
  readonly id: SessionId;
  readonly name: string;
  readonly createdAt: string;
  readonly by: string;
  readonly archived: boolean;
}

/** Which Sessions there are: a fold of the stream `catalogue`. */
export class Catalogue {
  readonly #deps: { readonly store: Store; readonly clock: Clock };
  readonly #sessions = new Map<SessionId, SessionFacts>();

  static async open(deps: { readonly store: Store; readonly clock: Clock }): Promise<Catalogue> {
    const catalogue = new Catalogue(deps);
    for (let after = -1; ;) {
      const records = await deps.store.read(stream, after, 1_000);
      for (const record of records) catalogue.#note(record);
      const last = records.at(-1);
      if (last === undefined) return catalogue;
      after = last.id;
    }
  }

  private constructor(deps: { readonly store: Store; readonly clock: Clock }) {
    this.#deps = deps;
  }

  get(id: SessionId): SessionFacts | undefined {
    return this.#sessions.get(id);
  }

  newestFirst(): readonly SessionFacts[] {
    return [...this.#sessions.values()].reverse();
  }

  async created(id: SessionId, by: string): Promise<void> {
    await this.#append({ kind: "created", session: id, by });
  }

  async changed(
    id: SessionId,
    change: { readonly name?: string; readonly archived?: boolean },
    by: string,
  ): Promise<void> {
    if (change.name !== undefined)
      await this.#append({ kind: "renamed", session: id, name: redact(change.name), by });
    if (change.archived !== undefined)
      await this.#append({ kind: "archived", session: id, archived: change.archived, by });
  }

  async #append(entry: {
    readonly kind: string;
    readonly session: SessionId;
    readonly [field: string]: unknown;
  }): Promise<void> {
    const record = { ...entry, at: this.#deps.clock.now().toISOString() };
    const { firstId } = await this.#deps.store.append(stream, [record]);
    this.#note({ ...record, id: firstId });
  }

  #note(record: StoredRecord): void {
    const id = record["session"] as SessionId;
    const known = this.#sessions.get(id);
    switch (record.kind) {
      case "created": {
        const facts = {
          id,
          name: "",
          createdAt: String(record["at"]),
          by: String(record["by"]),
          archived: false,
        };
        this.#sessions.set(id, facts);
        this.#forgetOldest();
        return;
      }
      case "renamed":
        if (known) this.#sessions.set(id, { ...known, name: String(record["name"]) });
        return;
      case "archived":
        if (known) this.#sessions.set(id, { ...known, archived: record["archived"] === true });
        return;
      default:
    }
  }

  #forgetOldest(): void {
    if (this.#sessions.size <= sessionsListedMax) return;
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined) this.#sessions.delete(oldest);
  }
}

const stream = "catalogue";
