import { readFileSync } from "node:fs";
import type {
  ConsoleFacts,
  ConsoleNow,
  ModelNow,
  PendingApproval,
  Preset,
  RunbookBrief,
} from "../protocol/api.ts";
import type { TargetStatus } from "../protocol/targets.ts";
import type { AgentSide } from "./agent-side.ts";
import type { Broker } from "./broker/broker.ts";
import type { Config } from "./config/config.ts";
import { noticesOf, type NoticeFacts } from "./notices.ts";
import type { Sessions } from "./sessions/sessions.ts";

/** What the page shows beside a Session. */
export interface Console {
  facts(): Omit<ConsoleFacts, "actor">;
  now(): ConsoleNow;
  pendingApprovals(): readonly PendingApproval[];
}

export function composeConsole(deps: {
  readonly config: Pick<Config, "mode">;
  readonly agentSide: AgentSide;
  readonly broker: Pick<Broker, "approvals" | "freeze">;
  readonly sessions: Pick<Sessions, "summary">;
  readonly presets: readonly Preset[];
  readonly runbooks: () => readonly RunbookBrief[];
  readonly model: () => ModelNow;
  readonly targets: () => readonly TargetStatus[];
  readonly noticeFacts: () => NoticeFacts;
}): Console {
  const { config, agentSide, broker, sessions, presets, runbooks, model, targets, noticeFacts } = deps;
  const { agent } = agentSide;
  const pendingApprovals = () =>
    broker.approvals.pending().map((each) => ({
      ...each,
      session_name: sessions.summary(each.session_id)?.name ?? "",
    }));
  const now = () => ({ frozen: broker.freeze.now(), model: model(), approvals: pendingApprovals() });
  return {
    now,
    pendingApprovals,
    facts: () => ({
      version,
      mode: config.mode,
      isolation: agent.isolation(),
      agent_problem: agent.problem(),
      presets,
      targets: targets(),
      notices: noticesOf(noticeFacts()),
      runbooks: runbooks(),
      now: now(),
    }),
  };
}

const packageFile = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
const { version } = JSON.parse(packageFile) as { version: string };
