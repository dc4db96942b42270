import type { PromptStarted } from "../../protocol/api.ts";
import type { StoredEvent } from "../../protocol/events.ts";
import type { SessionId, Uuid } from "../../protocol/ids.ts";
import { askUntilAnswered } from "./ask.ts";
import { keepDraft, keptDraft } from "./keep.ts";
import { newUuid } from "./uuid.ts";

/** The draft of one Session and its way to the server: never lost, never sent twice. */
export class Composer {
  text = $state("");
  /** "lost": the answer to the last attempt did not come; the same key is asked again. */
  sending = $state<"no" | "yes" | "lost">("no");
  problem = $state<string | null>(null);
  readonly session: SessionId;

  /** The key of an attempt with exactly the text of the draft; a changed text is another prompt. */
  #key: Uuid | null;
  #preset: { readonly prompt: string; readonly key: Uuid } | null = null;

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
    if (await this.#send(this.text, key)) this.#accepted(key);
  }

  /** A preset leaves the draft alone. Tapped again after a lost answer it is the same prompt, not a second one. */
  async sendPreset(prompt: string): Promise<void> {
    if (this.sending !== "no") return;
    if (this.#preset?.prompt !== prompt) this.#preset = { prompt, key: newUuid() };
    const { key } = this.#preset;
    if (await this.#send(prompt, key)) this.#accepted(key);
  }

  /** The Event of a prompt proves that it was accepted, whatever became of the answer. */
  seen(events: readonly StoredEvent[]): void {
    for (const event of events)
      if (event.kind === "user" && event.key !== undefined) this.#accepted(event.key as Uuid);
  }

  async #send(prompt: string, key: Uuid): Promise<boolean> {
    this.sending = "yes";
    this.problem = null;
    const answer = await askUntilAnswered<PromptStarted>(
      `/api/session/${this.session}/prompt`,
      { prompt, key },
      () => {
        this.sending = "lost";
      },
    );
    this.sending = "no";
    if (answer.kind === "ok") return true;
    if (answer.kind === "refused") {
      // It was answered and nothing was started: the next attempt is a new one.
      this.#forgetKey(key);
      this.problem = answer.detail;
    } else if (this.#key === key || this.#preset?.key === key) {
      this.problem =
        "Not sent as far as we know: no answer came. Your text is kept. Sending it again cannot start it twice.";
    }
    return false;
  }

  #accepted(key: Uuid): void {
    if (key === this.#key) this.text = "";
    if (key === this.#key || key === this.#preset?.key) this.problem = null;
    this.#forgetKey(key);
  }

  #forgetKey(key: Uuid): void {
    if (key === this.#preset?.key) this.#preset = null;
    if (key === this.#key) this.#key = null;
    this.#keep();
  }

  #keep(): void {
    keepDraft(this.session, { text: this.text, key: this.#key });
  }
}
