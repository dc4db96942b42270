/** What came of one request. `lost`: no answer came, so that it may or may not have been carried out. */
export type Answer<T> =
  | { readonly kind: "ok"; readonly value: T; readonly at: Date }
  | { readonly kind: "refused"; readonly status: number; readonly detail: string }
  | { readonly kind: "lost" };

/** After this long without an answer a request counts as lost. */
const answerMs = 15_000;

/** Waits between the attempts of `askUntilAnswered`; after the last one it gives up and the person decides. */
const retryWaitsMs = [500, 1000, 2000, 4000, 8000, 15_000, 15_000] as const;

export async function ask<T>(
  method: "GET" | "POST" | "PATCH",
  path: string,
  body?: unknown,
): Promise<Answer<T>> {
  try {
    const response = await fetch(path, {
      method,
      ...plainly(),
      ...(body !== undefined && {
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    });
    const text = await response.text();
    const value = parse(text);
    if (response.ok) {
      if (text !== "" && value === undefined) return { kind: "lost" };
      return { kind: "ok", value: value as T, at: new Date(response.headers.get("date") ?? Date.now()) };
    }
    const detail = detailOf(value);
    // A proxy on the way says 502 to 504 in its own words: what stands behind it may have acted.
    if (detail === undefined && response.status >= 502 && response.status <= 504) return { kind: "lost" };
    return {
      kind: "refused",
      status: response.status,
      detail: detail ?? `The server answered ${response.status}.`,
    };
  } catch {
    return { kind: "lost" };
  }
}

/** A text as it is, for example a report; or why there is none, in plain words. */
export async function readText(
  path: string,
): Promise<
  { readonly kind: "ok"; readonly text: string } | { readonly kind: "not"; readonly detail: string }
> {
  try {
    const response = await fetch(path, plainly());
    const text = await response.text();
    if (response.ok) return { kind: "ok", text };
    return { kind: "not", detail: detailOf(parse(text)) ?? `The server answered ${response.status}.` };
  } catch {
    return { kind: "not", detail: "It did not come: the server could not be reached. Try again." };
  }
}

function plainly(): RequestInit {
  return { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(answerMs) };
}

/** For requests that carry a key, which makes asking again harmless: asks until there is an answer. */
export async function askUntilAnswered<T>(path: string, body: object, lost: () => void): Promise<Answer<T>> {
  for (const waitMs of retryWaitsMs) {
    const answer = await ask<T>("POST", path, body);
    if (answer.kind !== "lost") return answer;
    lost();
    await waitOrOnline(waitMs);
  }
  return ask<T>("POST", path, body);
}

/** Ends early when the network comes back or the page comes to the foreground. */
export function waitOrOnline(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = () => {
    clearTimeout(timer);
    removeEventListener("online", done);
    document.removeEventListener("visibilitychange", done);
    resolve();
  };
  const timer = setTimeout(done, ms);
  addEventListener("online", done);
  document.addEventListener("visibilitychange", done);
  return promise;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function detailOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || !("detail" in value)) return undefined;
  return typeof value.detail === "string" ? value.detail : undefined;
}
