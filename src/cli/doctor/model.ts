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
  const origin = URL.parse(endpoint)?.origin ?? endpoint;
  const proxy = env["HTTPS_PROXY"] ?? env["HTTP_PROXY"];
  if (proxy !== undefined && proxy !== "")
    return yield warning(
      "model",
      `${origin} was not asked, since a proxy stands in between (HTTPS_PROXY)`,
      "The agent goes through it; the first prompt shows whether that works.",
    );
  try {
    const { status } = await fetch(endpoint, {
      method: "HEAD",
      redirect: "manual",
      signal: AbortSignal.timeout(answerMsMax),
    });
    yield ok(
      "model",
      `${origin} answers (HTTP ${status}); the credential was not tried, since that costs money`,
    );
  } catch (error) {
    const { message, cause } = error as Error;
    yield problem(
      "model",
      `${origin} is not reached (${cause instanceof Error ? cause.message : message})`,
      "Check the network and ANTHROPIC_BASE_URL. Power, state and runbooks work without it.",
    );
  }
}
