import type { SessionChange } from "../../protocol/api.ts";
import type { SessionId } from "../../protocol/ids.ts";
import { redact } from "../audit/redact.ts";
import { within, type Clock } from "../clock.ts";
import { readable } from "../store/readable.ts";
import type { Store, StoredRecord } from "../store/store.ts";
import { catalogueMs, sessionsListedMax } from "./limits.ts";

export interface SessionFacts {
  readonly id: SessionId;
  readonly name: string;
  readonly createdAt: string;
  readonly by: string;
  readonly archived: boolean;
}

interface CatalogueDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly report: (error: unknown) => void;
}

/** Which Sessions there are: a fold of the stream `catalogue`. */
export class Catalogue {
  readonly #deps: CatalogueDeps;
  readonly #sessions = new Map<SessionId, SessionFacts>();

  /** Never rejects and never waits for long: without the list the server is still of use. What is missing is reported. */
  static async open(deps: CatalogueDeps): Promise<Catalogue> {
    const catalogue = new Catalogue(deps);
    await within(deps.clock, catalogueMs, catalogue.#load().catch(deps.report));
    return catalogue;
  }

  private constructor(deps: CatalogueDeps) {
    this.#deps = deps;
  }

  async #load(): Promise<void> {
    let damaged = 0;
    for await (const record of readable(this.#deps.store, stream, () => damaged++)) this.#note(record);
    if (damaged > 0)
      this.#deps.report(new Error(`${damaged} records of the list of sessions are damaged, and left out`));
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

  async changed(id: SessionId, change: Omit<SessionChange, "mode">, by: string): Promise<void> {
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
