import type { Options } from "@anthropic-ai/claude-agent-sdk";
import type { SessionId } from "../../../protocol/ids.ts";
import type { BrokerDoor } from "../agent.ts";
import type { Places } from "../runner/runner.ts";

/** All that the agent can do. Grep and Glob are absent unless they are named. No web tools: the Target is the world. */
const tools = ["Bash", "Read", "Grep", "Glob"];

/** The Bash tool's own limits stand above an Approval (10 minutes) plus a Cycle: else the agent gives up before they end. */
const bashDefaultMs = 15 * 60_000;
const bashMaxMs = 30 * 60_000;
/** Requests that are sent again after 401, 429, 5xx and refused connections; ten, the default, would take three minutes. */
const retriesMax = 2;

/** How a process of the agent begins: anew under an id, or with the memory that it has kept under one. */
export type Opening = { readonly kind: "new" | "resume"; readonly id: string };

export interface Setting {
  readonly session: SessionId;
  readonly door: BrokerDoor;
  readonly places: Places;
  /** Where the model is and by what right: ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, ... */
  readonly endpoint: Readonly<Record<string, string>>;
  /** Further variables that the deployment lets through, such as NODE_EXTRA_CA_CERTS. */
  readonly extra: Readonly<Record<string, string>>;
  /** Then a request without an answer counts as failed, and is retried. */
  readonly apiTimeoutMs: number;
  readonly instructions: string;
  readonly model: string | undefined;
  /** Requests to the model for one prompt; the next one is not sent, and the result says so. */
  readonly modelCallsMax: number;
  /** What the process may cost from its start; the model call that exceeds it is the last one. undefined: no limit. */
  readonly costUsdMax: number | undefined;
}

/** The whole environment of the agent, and of every program that it starts. Nothing of the server's own passes. */
export function environment(setting: Setting): Record<string, string> {
  const { places, door } = setting;
  return {
    ...setting.extra,
    ...setting.endpoint,
    HOME: places.workspace,
    PATH: places.path,
    SHELL: "/bin/bash",
    LANG: "C.UTF-8",
    TERM: "dumb",
    TMPDIR: places.temporary,
    CLAUDE_CODE_TMPDIR: places.temporary,
    CLAUDE_CONFIG_DIR: places.memory,
    BREAKGLASS_BROKER: places.brokerSocket,
    BREAKGLASS_TOKEN: door.token,
    API_TIMEOUT_MS: `${setting.apiTimeoutMs}`,
    BASH_DEFAULT_TIMEOUT_MS: `${bashDefaultMs}`,
    BASH_MAX_TIMEOUT_MS: `${bashMaxMs}`,
    CLAUDE_CODE_MAX_RETRIES: `${retriesMax}`,
    // A command moved to the background would outlive its Turn and answer in one that nobody asked for.
    CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: "1",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    DISABLE_TELEMETRY: "1",
    DISABLE_AUTOUPDATER: "1",
    DISABLE_ERROR_REPORTING: "1",
  };
}

/** How the SDK runs it; the caller adds how it is started. */
export function queryOptions(setting: Setting, opening: Opening): Options {
  return {
    cwd: setting.places.workspace,
    env: environment(setting),
    tools,
    allowedTools: tools,
    // What is not allowed is refused without asking: there is nobody at its terminal.
    permissionMode: "dontAsk",
    permissionPrompts: "none",
    // Else a CLAUDE.md and a .mcp.json in the workspace would reach the model and start programs.
    settingSources: [],
    strictMcpConfig: true,
    // Not recorded: a changed agents/breakglass.md holds for old Sessions too.
    systemPrompt: { type: "custom", prompt: setting.instructions, snapshot: false },
    includePartialMessages: true,
    // A prompt is words, never a command of the agent's own ("/clear") nor a file to include ("@path").
    verbatimPrompts: true,
    maxTurns: setting.modelCallsMax,
    ...(setting.costUsdMax !== undefined && { maxBudgetUsd: setting.costUsdMax }),
    ...(setting.model !== undefined && { model: setting.model }),
    ...(opening.kind === "resume" ? { resume: opening.id } : { sessionId: opening.id }),
  };
}
