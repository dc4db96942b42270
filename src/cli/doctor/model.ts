import { defaultUrl } from "../../server/agent/model.ts";
import { probeModel } from "../../server/agent/probe.ts";
import { systemClock } from "../../server/clock.ts";
import { ok, problem, warning, type Check } from "./check.ts";

const without = "Power, state and runbooks work without it.";

/** Whether the model's place is reached, asked as the server asks; no credential is sent, so none is tried. */
export async function* checkModel(
  credentials: Readonly<Record<string, string>>,
  env: NodeJS.ProcessEnv,
): AsyncGenerator<Check> {
  if (!("ANTHROPIC_API_KEY" in credentials || "CLAUDE_CODE_OAUTH_TOKEN" in credentials))
    yield warning(
      "model",
      "no credential is configured",
      "Set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, or no turn is run; power, state and runbooks work.",
    );
  const url = credentials["ANTHROPIC_BASE_URL"] ?? defaultUrl;
  const { signal } = new AbortController();
  const probed = await probeModel({ clock: systemClock, url, env: proxiesIn(env), signal });
  switch (probed.kind) {
    case "reached":
      return yield ok(
        "model",
        `${URL.parse(url)?.host} answers; the credential was not tried, since that costs money`,
      );
    case "unclear":
      return yield warning(
        "model",
        withoutStop(probed.says),
        "The first prompt shows whether the agent fares better.",
      );
    case "unreached":
      return yield problem("model", withoutStop(probed.says), without);
  }
}

const withoutStop = (sentence: string) => sentence.replace(/\.$/, "");

function proxiesIn(env: NodeJS.ProcessEnv): Record<string, string> {
  const names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] as const;
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
