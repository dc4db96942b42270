/** Never "connected" unless frames came a moment ago. */
export type LinkState = "connecting" | "connected" | "reconnecting" | "offline";

interface Follow {
  /** Where to attach now; asked anew at every attempt, since it names the last Event seen. */
  readonly path: () => string;
  /** A numbered Event; `id` is known even when the Event itself cannot be read. */
  readonly event: (id: number, data: string) => void;
  readonly named: Readonly<Record<string, (data: string) => void>>;
  /** The server answered, and the answer was no stream: signed out, or no such Session. */
  readonly refused: () => void;
  /** The server said on the stream itself why it ends it. */
  readonly ended: (detail: string) => void;
}

/** The server sends `beat` with its interval; until the first has come this is assumed. */
const assumedBeatSeconds = 15;
/** A line that is silent for this many intervals is taken for lost. */
const beatsMissedMax = 2.5;
/** An attempt to connect that takes longer is given up and begun again. */
const connectMs = 12_000;
/** Waits between attempts; the last one is repeated for as long as the page is open. */
const retryMs = [250, 1000, 2000, 4000, 8000] as const;
/** A page that was hidden for longer than this does not trust its connection any more. */
const hiddenTrustMs = 4000;

/** One attached stream. It reconnects by itself, at once when the page or the network comes back. */
export class Link {
  state = $state<LinkState>("connecting");

  #follow: Follow;
  #source: EventSource | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  #beatMs = assumedBeatSeconds * 1000;
  #hiddenAt = 0;
  #ended = new AbortController();

  constructor(follow: Follow) {
    this.#follow = follow;
    const { signal } = this.#ended;
    addEventListener("online", () => this.#reconnect(), { signal });
    addEventListener("offline", () => this.#lose(), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.#reconnect(), { signal });
    document.addEventListener("visibilitychange", () => this.#visible(), { signal });
    this.#connect();
  }

  close(): void {
    this.#ended.abort();
    this.#drop();
  }

  #connect(): void {
    this.#drop();
    const source = new EventSource(this.#follow.path());
    this.#source = source;
    source.addEventListener("open", () => this.#alive());
    source.addEventListener("message", (message: MessageEvent<string>) => {
      this.#alive();
      if (/^\d{1,15}$/.test(message.lastEventId))
        this.#follow.event(Number(message.lastEventId), message.data);
    });
    for (const [name, hear] of Object.entries(this.#follow.named)) {
      source.addEventListener(name, (message: MessageEvent<string>) => {
        this.#alive();
        if (name === "caught-up") this.#attempts = 0;
        hear(message.data);
      });
    }
    source.addEventListener("beat", (message: MessageEvent<string>) => {
      const seconds = Number(message.data);
      if (seconds > 0) this.#beatMs = seconds * 1000;
      this.#alive();
    });
    source.addEventListener("error", (event) => {
      if (event instanceof MessageEvent)
        this.#follow.ended((JSON.parse(String(event.data)) as { detail: string }).detail);
      const refused = source.readyState === EventSource.CLOSED && navigator.onLine;
      this.#lose();
      if (refused) this.#follow.refused();
    });
    this.#silence = setTimeout(() => this.#lose(), connectMs);
  }

  #alive(): void {
    this.state = "connected";
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lose(), this.#beatMs * beatsMissedMax);
  }

  /** The browser's own reconnecting is not used: it waits longer, and it cannot see a silent line. */
  #lose(): void {
    this.#drop();
    this.state = navigator.onLine ? "reconnecting" : "offline";
    const waitMs = retryMs[Math.min(this.#attempts, retryMs.length - 1)]!;
    this.#attempts += 1;
    // A little chance, so that many pages do not come back to a restarted server in the same instant.
    this.#retry = setTimeout(() => this.#connect(), waitMs * (1 + Math.random() / 4));
  }

  #reconnect(): void {
    this.#attempts = 0;
    this.state = navigator.onLine ? "reconnecting" : "offline";
    this.#connect();
  }

  #visible(): void {
    if (document.hidden) this.#hiddenAt = Date.now();
    else if (this.state !== "connected" || Date.now() - this.#hiddenAt > hiddenTrustMs) this.#reconnect();
  }

  #drop(): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = undefined;
  }
}
