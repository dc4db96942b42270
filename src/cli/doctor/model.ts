import { ok, problem, warning, type Check } from "./check.ts";

/** Who has not answered a HEAD by then is not reached. */
const answerMsMax = 10_000;
const defaultEndpoint = "https://api.anthropic.com";

/** Whether the model's endpoint is reached. Any answer of HTTP counts; no credential is sent, so none is tried. */
export async function* checkModel(
  credentials: Readonly<Record<string, string>>,
  env: NodeJS.ProcessEnv,
): AsyncGenerator<Check> {
  const endpoint = credentials["ANTHROPIC_BASE_URL"] ?? defaultEndpoint;
  if (!("ANTHROPIC_API_KEY" in credentials || "CLAUDE_CODE_OAUTH_TOKEN" in credentials))
    yield warning(
      "model",
      "no credential is configured",
      "Set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, or no turn is run; power, state and runbooks work.",
    );
  const url = URL.parse(endpoint);
  // That it is no URL the configuration has told.
  if (url === null) return;
  // A name and a password in it are neither shown nor sent.
  url.username = url.password = "";
  const { origin } = url;
  const proxy = env["HTTPS_PROXY"] ?? env["HTTP_PROXY"];
  if (proxy !== undefined && proxy !== "")
    return yield warning(
      "model",
      `${origin} was not asked, since a proxy stands in between (HTTPS_PROXY)`,
      "The agent goes through it; the first prompt shows whether that works.",
    );
  try {
    const { status } = await fetch(url, {
      method: "HEAD",
      redirect: "manual",
      signal: AbortSignal.timeout(answerMsMax),
    });
    yield ok(
      "model",
      `${origin} answers (HTTP ${status}); the credential was not tried, since that costs money`,
    );
  } catch (error) {
    yield problem(
      "model",
      `${origin} is not reached (${whyNot(error)})`,
      "Check the network and ANTHROPIC_BASE_URL. Power, state and runbooks work without it.",
    );
  }
}

/** The system's own word for it. Messages of fetch may hold the whole URL. */
function whyNot(error: unknown): string {
  const { name, cause } = error as Error;
  if (name === "TimeoutError") return `no answer in ${answerMsMax / 1_000} s`;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? "the request failed";
}
