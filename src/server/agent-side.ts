import { readFileSync } from "node:fs";
import type { Agent } from "./agent/agent.ts";
import { claudeAgent } from "./agent/claude/agent.ts";
import { createModelWatch, type ModelWatch } from "./agent/model.ts";
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import type { Demo } from "./demo.ts";

/** An idle agent process ends after this long, and is resumed by its next Turn. */
const agentIdleMs = 10 * 60_000;
/** A request to the model without an answer counts as failed after this long. */
const apiTimeoutMs = 120_000;

export interface AgentSide {
  /** Its `problem` says also what is wrong with its definition and its model. */
  readonly agent: Agent;
  readonly model: ModelChoice;
  /** Whether that answers. */
  readonly modelWatch: ModelWatch;
  /** Of the demo, by its button. */
  useOwnModel(): void;
}

/** The agent with its definition and its model. */
export function composeAgent(deps: {
  readonly config: Config;
  readonly demo: Demo | null;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string>>;
}): AgentSide {
  const { config, demo, clock, env } = deps;
  const model = modelChoice(config, demo);
  const modelWatch = createModelWatch({ clock, endpoint: model.endpoint, env });
  const definition = readDefinition(config.agent.definitionPath);
  const agent = claudeAgent({
    clock,
    sessionsDir: config.sessionsDir,
    isolation: config.isolation,
    instructions: definition.text,
    ...(config.agent.claudePath !== null && { claudePath: config.agent.claudePath }),
    model: config.agent.model ?? undefined,
    endpoint: model.endpoint,
    onModel: (sign) => modelWatch.noted(sign),
    env,
    agentsWarmMax: config.agent.warmMax,
    idleMs: agentIdleMs,
    apiTimeoutMs,
    silenceMs: config.agent.silenceTimeoutSeconds * 1000,
    turnTimeoutMs: config.agent.turnTimeoutSeconds * 1000,
    modelCallsMax: config.agent.modelCallsMax,
    outputCharsMax: config.agent.outputCharsMax,
    turnCostUsdMax: config.agent.turnCostUsdMax ?? undefined,
  });
  const problem = () => config.agent.problem ?? definition.problem ?? model.problem() ?? agent.problem();
  return {
    agent: { ...agent, problem },
    model,
    modelWatch,
    useOwnModel() {
      model.useOwn();
      modelWatch.look();
    },
  };
}

/** Who the agent is. Without it no Turn is run; everything else goes on. */
function readDefinition(path: string): { readonly text: string; readonly problem: string | null } {
  try {
    return { text: readFileSync(path, "utf8"), problem: null };
  } catch (error) {
    const why = (error as Error).message;
    return {
      text: "",
      problem: `The agent's definition cannot be read (${why}), so no turn is run. Mend BREAKGLASS_AGENT and restart. Power and state work.`,
    };
  }
}

type ModelChoice = ReturnType<typeof modelChoice>;

/** Where the model is. The demo begins with the stand-in, and takes the Operator's credential only when told to. */
function modelChoice({ agent }: Config, demo: Demo | null) {
  const { credentials } = agent;
  const hasCredential = "ANTHROPIC_API_KEY" in credentials || "CLAUDE_CODE_OAUTH_TOKEN" in credentials;
  const standIn = demo && { ANTHROPIC_BASE_URL: demo.modelUrl, ANTHROPIC_API_KEY: "the-stand-in-wants-none" };
  let own = standIn === null;
  return {
    hasCredential,
    inUse: () => (own ? ("own" as const) : ("stand-in" as const)),
    useOwn: () => void (own = own || hasCredential),
    endpoint: () => ({ env: own || standIn === null ? credentials : standIn }),
    problem: () =>
      own && !hasCredential && agent.claudePath === null
        ? "No model is configured, so the agent cannot answer. Set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN and restart. The power sheet works without it."
        : null,
  };
}
