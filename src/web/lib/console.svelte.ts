import type {
  ConsoleFacts,
  ConsoleNow,
  FreezeAnswer,
  HostKeyAccepted,
  HostKeyRequest,
  Mode,
  ModeNow,
  Notice,
  SessionCreated,
  SessionDetail,
  SessionSummary,
} from "../../protocol/api.ts";
import type { SessionId } from "../../protocol/ids.ts";
import { ask } from "./ask.ts";
import { ServerClock } from "./clock.svelte.ts";
import { Composer } from "./composer.svelte.ts";
import { forgetReading, keepReading, keptReading, type KeptReading } from "./keep.ts";
import type { LinkState } from "./link.svelte.ts";
import { Power } from "./power.svelte.ts";
import { AttachedSession } from "./session.svelte.ts";

/** Between attempts to begin while the server cannot be reached; also tried at once when the network comes back. */
const beginAgainMs = 3000;
/** The Transcript is kept for reading offline this long after it changed. */
const keepAfterMs = 2000;

type Stage =
  | { readonly kind: "opening" }
  | { readonly kind: "signed-out"; readonly problem: string | null }
  | { readonly kind: "open" }
  /** Not reached since the page was opened; what the device kept can be read meanwhile. */
  | { readonly kind: "away"; readonly kept: KeptReading | undefined };

/** Everything the page knows: who and what it talks to, and the Session that is open. */
export class BreakglassConsole {
  stage = $state.raw<Stage>({ kind: "opening" });
  facts = $state.raw<ConsoleFacts | null>(null);
  /** What concerns every Session, as it was heard last. */
  now = $state.raw<ConsoleNow | null>(null);
  sessions = $state.raw<readonly SessionSummary[]>([]);
  session = $state.raw<AttachedSession | null>(null);
  composer = $state.raw<Composer | null>(null);
  power = $state.raw<Power | null>(null);
  /** What did not work of what was asked last, in plain words. */
  problem = $state<string | null>(null);
  /** When the states shown were last known to be true. */
  asOf = $state.raw<string | null>(null);
  readonly clock = new ServerClock();
  link = $derived<LinkState>(
    this.session?.link.state ?? (this.stage.kind === "away" ? "offline" : "connecting"),
  );
  target = $derived(
    this.facts?.targets.find((target) => target.is_default) ?? this.facts?.targets[0] ?? null,
  );
  /** Of the open Session, by the clock: a grant ends whether or not the server is heard. null: not heard yet. */
  mode = $derived(modeAt(this.session?.mode ?? null, this.clock.now));
  name = $derived(this.sessions.find(({ session_id }) => session_id === this.session?.id)?.name ?? "");

  #nowHeard = 0;
  #keeping: ReturnType<typeof setTimeout> | undefined;
  #beginning = false;

  constructor() {
    // A link that is pasted where the page is open already loads nothing: only its fragment changes.
    addEventListener("hashchange", () => void this.begin());
  }

  /** Reads the facts and opens the last Session; a one-time link in the address is traded in before anything else. */
  async begin(): Promise<void> {
    if (this.#beginning) return;
    this.#beginning = true;
    const problem = await this.#tradeLink();
    const reached = (await this.#refresh(problem)) && (await this.#openLast());
    this.#beginning = false;
    if (!reached && this.stage.kind !== "signed-out") this.#away();
  }

  async signIn(token: string): Promise<void> {
    const answer = await ask("POST", "/api/login", { token });
    if (answer.kind === "ok") return this.begin();
    this.stage = { kind: "signed-out", problem: answer.kind === "refused" ? answer.detail : unreached };
  }

  async signOut(): Promise<void> {
    const answer = await ask("POST", "/api/logout");
    if (answer.kind === "ok") this.#signedOut(null);
    else this.problem = answer.kind === "refused" ? answer.detail : `You are still signed in. ${unreached}`;
  }

  async open(id: SessionId): Promise<void> {
    if (this.session?.id === id) return;
    this.session?.close();
    this.problem = null;
    const composer = new Composer(id);
    this.composer = composer;
    this.session = new AttachedSession(id, {
      targets: (targets) => {
        if (this.facts !== null) this.facts = { ...this.facts, targets };
        void this.power?.noticed(this.target?.current ?? null);
        this.#keepSoon();
      },
      operation: (frame) => this.power?.heard(frame),
      console: (now) => this.#heard(now),
      events: (events) => {
        composer.seen(events);
        if (events.some(({ kind }) => kind === "turn_end")) this.#freshen();
        this.#keepSoon();
      },
      caughtUp: () => {
        this.#freshen();
        this.#keepSoon();
      },
      refused: () => void this.#refused(id),
      ended: (detail) => (this.problem = detail),
    });
    this.stage = { kind: "open" };
    history.replaceState(null, "", `#s=${id}`);
  }

  async openNew(): Promise<void> {
    const answer = await ask<SessionCreated>("POST", "/api/session");
    if (answer.kind === "ok") await this.open(answer.value.session_id);
    else
      this.problem =
        answer.kind === "refused"
          ? answer.detail
          : `No new session was opened as far as we know. ${unreached}`;
    await this.listSessions();
  }

  async listSessions(): Promise<boolean> {
    const answer = await ask<readonly SessionSummary[]>("GET", "/api/sessions");
    if (answer.kind === "ok") this.sessions = answer.value;
    return answer.kind === "ok";
  }

  async stop(): Promise<void> {
    if (this.session === null) return;
    const answer = await ask("POST", `/api/session/${this.session.id}/cancel`);
    if (answer.kind === "ok") this.problem = null;
    else
      this.problem =
        answer.kind === "refused" ? answer.detail : `It may still be running: tap Stop again. ${unreached}`;
  }

  async mend(notice: Notice): Promise<void> {
    if (notice.action === undefined) return;
    const answer = await ask("POST", notice.action.path);
    if (answer.kind !== "ok") this.problem = answer.kind === "refused" ? answer.detail : unreached;
    await this.#refresh(null);
  }

  /** Answers what did not work, in plain words; null: it holds. */
  async setMode(mode: Mode): Promise<string | null> {
    if (this.session === null) return "No session is open.";
    const { session } = this;
    const answer = await ask<SessionDetail>("PATCH", `/api/session/${session.id}`, { mode });
    if (answer.kind === "ok") {
      session.mode = answer.value.mode;
      return null;
    }
    return answer.kind === "refused"
      ? answer.detail
      : `It is not known whether the mode was changed. ${unreached}`;
  }

  /** As `setMode`. Asking again is harmless. */
  async freeze(frozen: boolean): Promise<string | null> {
    const answer = await ask<FreezeAnswer>("POST", "/api/freeze", { frozen });
    await this.#refresh(null);
    if (answer.kind === "refused") return answer.detail;
    if (answer.kind === "lost") return `It is not known whether that arrived. ${unreached}`;
    if (answer.value.durable) return null;
    return frozen
      ? "It is frozen, but that could not be written to disk: a restart of the server would lift it."
      : "It is lifted, but that could not be written to disk: after a restart of the server it is frozen again.";
  }

  /** Asking again is harmless: what was accepted stays accepted. */
  async acceptHostKey(target: string, request: HostKeyRequest): Promise<void> {
    const path = `/api/targets/${encodeURIComponent(target)}/host-key`;
    const answer = await ask<HostKeyAccepted>("POST", path, request);
    if (answer.kind === "refused") this.problem = answer.detail;
    else if (answer.kind === "lost")
      this.problem = `The key may be accepted or not: accept it again. ${unreached}`;
    else
      this.problem = answer.value.durable
        ? null
        : "The key is accepted, but could not be written to disk: after a restart of the server it must be accepted again.";
    await this.#refresh(null);
  }

  async #tradeLink(): Promise<string | null> {
    const link = /^#k=(.+)$/.exec(location.hash)?.[1];
    if (link === undefined) return null;
    const answer = await ask("POST", "/api/login", { link: decodeURIComponent(link) });
    // With no answer the link may still be good: it stays in the address for the next attempt.
    if (answer.kind !== "lost") history.replaceState(null, "", location.pathname + location.search);
    return answer.kind === "refused" ? answer.detail : null;
  }

  /** Answers whether the server was reached and let us in. */
  async #refresh(problem: string | null): Promise<boolean> {
    const heard = this.#nowHeard;
    const answer = await ask<ConsoleFacts>("GET", "/api/console");
    if (answer.kind === "refused" && answer.status === 401) this.#signedOut(problem);
    else if (answer.kind === "refused") this.problem = answer.detail;
    if (answer.kind !== "ok") return false;
    this.clock.heard(answer.at);
    this.facts = answer.value;
    // A frame that came meanwhile is newer than this answer.
    if (heard === this.#nowHeard) this.now = answer.value.now;
    this.asOf = answer.at.toISOString();
    this.#powerOfTarget();
    return true;
  }

  #heard(now: ConsoleNow): void {
    this.#nowHeard += 1;
    this.now = now;
  }

  async #openLast(): Promise<boolean> {
    if (!(await this.listSessions())) return false;
    const asked = /^#s=(.+)$/.exec(location.hash)?.[1];
    const known = this.sessions.find(({ session_id }) => session_id === asked);
    const last = known ?? this.sessions.find(({ archived }) => !archived);
    if (last === undefined) await this.openNew();
    else await this.open(last.session_id);
    return this.session !== null;
  }

  /** The stream was answered with a refusal: either nobody is signed in any more, or the Session is not there. */
  async #refused(id: SessionId): Promise<void> {
    if (!(await this.#refresh(null)) || this.session?.id !== id) return;
    const answer = await ask<SessionSummary>("GET", `/api/session/${id}`);
    if (answer.kind !== "refused" || answer.status !== 404) return;
    this.#closeSession();
    await this.#openLast();
    this.problem = "The session that was open is not on the server any more. This is another one.";
  }

  /** Facts and names that no frame tells. */
  #freshen(): void {
    void this.#refresh(null);
    void this.listSessions();
  }

  #away(): void {
    const kept = keptReading();
    this.stage = { kind: "away", kept };
    if (kept !== undefined) {
      this.facts = kept.facts;
      this.asOf = kept.asOf;
      if (this.composer?.session !== kept.session) this.composer = new Composer(kept.session);
      this.#powerOfTarget();
    }
    const again = () => {
      clearTimeout(timer);
      removeEventListener("online", again);
      void this.begin();
    };
    const timer = setTimeout(again, beginAgainMs);
    addEventListener("online", again);
  }

  #powerOfTarget(): void {
    const name = this.target?.name;
    if (name === undefined || this.power?.target === name) return;
    this.power?.close();
    this.power = new Power(name);
  }

  #signedOut(problem: string | null): void {
    this.#closeSession();
    forgetReading();
    this.facts = null;
    this.now = null;
    this.stage = { kind: "signed-out", problem };
  }

  #closeSession(): void {
    clearTimeout(this.#keeping);
    this.session?.close();
    this.session = null;
    this.composer = null;
    this.power?.close();
    this.power = null;
  }

  #keepSoon(): void {
    this.asOf = new Date(this.clock.now).toISOString();
    clearTimeout(this.#keeping);
    this.#keeping = setTimeout(() => {
      if (this.facts === null || this.session === null) return;
      const { id, transcript } = this.session;
      keepReading({ asOf: this.asOf!, facts: this.facts, session: id, name: this.name, transcript });
    }, keepAfterMs);
  }
}

function modeAt(mode: ModeNow | null, now: number): ModeNow | null {
  if (mode?.until === undefined || Date.parse(mode.until) > now) return mode;
  return { mode: mode.back_to ?? "supervised" };
}

const unreached = "The server could not be reached. Try again.";
