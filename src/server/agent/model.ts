import type { ModelNow } from "../../protocol/api.ts";
import type { Clock } from "../clock.ts";
import { probeModel, type Probed } from "./probe.ts";

/** What a Turn has seen of the model. `says`: what happened and the mend, for a person. */
export type ModelSign =
  | { readonly kind: "answered" }
  /** The credential, the name of the model or the account: waiting mends nothing. */
  | { readonly kind: "refused"; readonly says: string }
  /** It was reached and gave no answer: overloaded, limited, broken or silent. */
  | { readonly kind: "strained"; readonly says: string }
  | { readonly kind: "unreached"; readonly says: string };

/** Whether the model answers, as far as a cheap probe and the last Turn tell. */
export interface ModelWatch {
  now(): ModelNow;
  noted(sign: ModelSign): void;
  /** Looks at once. When the place or the credential has changed, what was seen before is forgotten. */
  look(): void;
  /** Called back at every change; answers the function that ends it. */
  watch(onChange: () => void): () => void;
  start(): void;
  close(): void;
}

export interface ModelWatchDeps {
  readonly clock: Clock;
  /** As the agent gets it: ANTHROPIC_BASE_URL and what opens it. */
  readonly endpoint: () => { readonly env: Readonly<Record<string, string>> };
  /** The proxies that the agent is given: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. */
  readonly env: Readonly<Record<string, string>>;
}

const lookMs = 60_000;
/** While it is gone. */
const lookAgainMs = 15_000;
/** For so long a model that was reached and gave no answer counts as gone; then only the next prompt can tell. */
const strainedMs = 60_000;
export const defaultUrl = "https://api.anthropic.com";

const meanwhile = "Runbooks and the power buttons work without it.";

export function createModelWatch({ clock, endpoint, env }: ModelWatchDeps): ModelWatch {
  const watchers = new Set<() => void>();
  let now: ModelNow = { state: "unknown", since: clock.now().toISOString(), detail: "" };
  /** How the last Turn failed, until one is answered. */
  let held: { readonly sign: Exclude<ModelSign, { kind: "answered" }>; readonly atMs: number } | undefined;
  let known = keyOf();
  /** Of the newest look: what an older one finds is nobody's. */
  let looking: AbortController | undefined;
  let callOff = () => {};

  return {
    now: () => now,
    noted,
    look: () => void look(),
    watch(onChange) {
      watchers.add(onChange);
      return () => void watchers.delete(onChange);
    },
    start: () => void look(),
    close() {
      callOff();
      looking?.abort();
      watchers.clear();
    },
  };

  function noted(sign: ModelSign): void {
    // What a look finds that began before this is older than this.
    looking?.abort();
    if (sign.kind === "answered") {
      held = undefined;
      become("answers", "");
      return later();
    }
    held = { sign, atMs: clock.now().getTime() };
    become("gone", `${sign.says} ${meanwhile}`);
    later();
  }

  async function look(): Promise<void> {
    callOff();
    looking?.abort();
    const own = (looking = new AbortController());
    if (keyOf() !== known) {
      known = keyOf();
      held = undefined;
      become("unknown", "");
    }
    const url = endpoint().env["ANTHROPIC_BASE_URL"] ?? defaultUrl;
    const probed = await probeModel({ clock, url, env, signal: own.signal });
    if (own.signal.aborted) return;
    judge(probed);
    later();
  }

  function later(): void {
    callOff();
    callOff = clock.after(now.state === "gone" ? lookAgainMs : lookMs, () => void look());
  }

  /** A Turn knows better than a probe: what it has seen is never taken for mended because something answers there. */
  function judge(probed: Probed): void {
    if (probed.kind === "unreached") return become("gone", `${probed.says} ${meanwhile}`);
    if (held === undefined)
      return probed.kind === "reached" ? become("answers", "") : become("unknown", probed.says);
    const { sign, atMs } = held;
    if (sign.kind === "refused") return become("gone", `${sign.says} ${meanwhile}`);
    if (sign.kind === "strained" && clock.now().getTime() - atMs < strainedMs) return;
    become("unknown", `The last turn ended so: ${sign.says} Whether that is over the next prompt tells.`);
  }

  function become(state: ModelNow["state"], detail: string): void {
    if (now.state === state && now.detail === detail) return;
    const since = now.state === state ? now.since : clock.now().toISOString();
    now = { state, since, detail };
    for (const onChange of watchers) onChange();
  }

  /** In memory only: it may hold a credential. */
  function keyOf(): string {
    return JSON.stringify(endpoint().env);
  }
}
