import type { PromptRequest, RunbookRequest } from "../../protocol/api.ts";
import type { StoredEvent } from "../../protocol/events.ts";
import type { SessionId, Uuid } from "../../protocol/ids.ts";
import { askUntilAnswered } from "./ask.ts";
import { keepDraft, keptDraft } from "./keep.ts";
import { newUuid } from "./uuid.ts";

/** The last word of the route. */
type Way = "prompt" | "runbook";

/** The draft of one Session and its way to the server: never lost, never sent twice. */
export class Composer {
  text = $state("");
  /** "lost": the answer to the last attempt did not come; the same key is asked again. */
  sending = $state<"no" | "yes" | "lost">("no");
  problem = $state<string | null>(null);
  readonly session: SessionId;

  /** The key of an attempt with exactly the text of the draft; a changed text is another prompt. */
  #key: Uuid | null;
  /** The preset or Runbook that was tapped last, by what it sends. */
  #tapped: { readonly what: string; readonly key: Uuid } | null = null;

  constructor(session: SessionId) {
    this.session = session;
    const { text, key } = keptDraft(session);
    this.text = text;
    this.#key = key;
  }

  edit(text: string): void {
    if (text === this.text) return;
    this.text = text;
    this.#key = null;
    this.problem = null;
    this.#keep();
  }

  async sendDraft(): Promise<void> {
    if (this.text.trim() === "" || this.sending !== "no") return;
    const key = (this.#key ??= newUuid());
    this.#keep();
    await this.#send("prompt", { prompt: this.text, key }, key);
  }

  /** Leaves the draft alone, as a Runbook does. Tapped again after a lost answer it is the same one, not a second. */
  async sendPreset(prompt: string): Promise<void> {
    await this.#sendTapped("prompt", { prompt });
  }

  /** The questions of a preset without a model. */
  async sendRunbook(name: string): Promise<void> {
    await this.#sendTapped("runbook", { name });
  }

  /** The Event of a prompt proves that it was accepted, whatever became of the answer. */
  seen(events: readonly StoredEvent[]): void {
    for (const event of events)
      if ((event.kind === "user" || event.kind === "runbook") && "key" in event && event.key !== undefined)
        this.#accepted(event.key as Uuid);
  }

  async #sendTapped(way: Way, asked: { prompt: string } | { name: string }): Promise<void> {
    if (this.sending !== "no") return;
    const what = JSON.stringify(asked);
    if (this.#tapped?.what !== what) this.#tapped = { what, key: newUuid() };
    const { key } = this.#tapped;
    await this.#send(way, { ...asked, key }, key);
  }

  async #send(way: Way, request: PromptRequest | RunbookRequest, key: Uuid): Promise<void> {
    this.sending = "yes";
    this.problem = null;
    const answer = await askUntilAnswered(`/api/session/${this.session}/${way}`, request, () => {
      this.sending = "lost";
    });
    this.sending = "no";
    if (answer.kind === "ok") this.#accepted(key);
    else if (answer.kind === "refused") {
      // It was answered and nothing was started: the next attempt is a new one.
      this.#forgetKey(key);
      this.problem = answer.detail;
    } else if (this.#key === key || this.#tapped?.key === key) {
      this.problem =
        "Not sent as far as we know: no answer came. Your text is kept. Sending it again cannot start it twice.";
    }
  }

  #accepted(key: Uuid): void {
    if (key === this.#key) this.text = "";
    if (key === this.#key || key === this.#tapped?.key) this.problem = null;
    this.#forgetKey(key);
  }

  #forgetKey(key: Uuid): void {
    if (key === this.#tapped?.key) this.#tapped = null;
    if (key === this.#key) this.#key = null;
    this.#keep();
  }

  #keep(): void {
    keepDraft(this.session, { text: this.text, key: this.#key });
  }
}
