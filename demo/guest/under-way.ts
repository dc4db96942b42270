import { fails, prints, type Ran } from "./commands/call.ts";

/** At the same time; one more cannot be started, as on a machine without free processes. */
const commandsMax = 64;

/** What was sent over ssh: a command, with or without a mark, or the order to end what bears a mark. */
export type Sent =
  | { readonly kind: "runs"; readonly mark: string | null; readonly command: string }
  | { readonly kind: "ends"; readonly mark: string };

/** As the Broker marks what it sends, and as it asks for its end (src/server/broker/end-there.ts). */
export function readSent(text: string): Sent {
  const [, ended] = /^exec \/bin\/sh -s breakglass-end-there ([0-9a-f-]{36})(?: |$)/.exec(text) ?? [];
  if (ended !== undefined) return { kind: "ends", mark: ended };
  const [prefix, mark] = /^export BREAKGLASS_EXEC=([0-9a-f-]{36})\n/.exec(text) ?? [];
  return prefix === undefined
    ? { kind: "runs", mark: null, command: text }
    : { kind: "runs", mark: mark!, command: text.slice(prefix.length) };
}

interface Running {
  readonly mark: string | null;
  readonly end: AbortController;
  readonly ended: Promise<unknown>;
}

/** The commands that run on the guest, so that they can be ended by their mark. */
export class UnderWay {
  readonly #running = new Set<Running>();

  async run(mark: string | null, act: (signal: AbortSignal) => Promise<Ran>): Promise<Ran> {
    if (this.#running.size >= commandsMax)
      return fails("bash: fork: retry: Resource temporarily unavailable", 254);
    const end = new AbortController();
    const ran = act(end.signal);
    const running = { mark, end, ended: ran.catch(() => {}) };
    this.#running.add(running);
    try {
      return await ran;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Ends all that bears the mark, and answers when nothing of it is left. */
  async end(mark: string): Promise<Ran> {
    const its = [...this.#running].filter((running) => running.mark === mark);
    for (const { end } of its) end.abort();
    await Promise.all(its.map(({ ended }) => ended));
    return prints("breakglass: nothing is left\n");
  }

  endAll(): void {
    for (const { end } of this.#running) end.abort();
  }
}
