import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { repairPreset } from "../../demo/presets.ts";
import type { TargetStatus } from "../protocol/targets.ts";
import { composeAgent } from "./agent-side.ts";
import { createAudit } from "./audit/audit.ts";
import { createAuth } from "./auth/auth.ts";
import { createAccounts } from "./broker/accounts.ts";
import { createBroker } from "./broker/broker.ts";
import { systemClock, within } from "./clock.ts";
import type { Config, Problem } from "./config/config.ts";
import { defaultTarget } from "./config/targets.ts";
import { composeConsole } from "./console.ts";
import { cookieSecret } from "./cookie-secret.ts";
import type { Demo } from "./demo.ts";
import { createApp } from "./http/app.ts";
import { openControl } from "./http/control.ts";
import type { Listening } from "./http/listen.ts";
import { Streams } from "./http/stream.ts";
import { composePower } from "./power-side.ts";
import type { Power } from "./power/power.ts";
import { defaultPresets } from "./presets.ts";
import { openRecord } from "./record.ts";
import { loadRunbooks } from "./runbooks/runbooks.ts";
import { Sessions } from "./sessions/sessions.ts";
import { acceptHostKey, accountName, askGuest, askPower, brokerTarget, refusedHostKeys } from "./sides.ts";
import { keptFolder, nameOf } from "./ssh/runtime-folder.ts";
import { verbAudit } from "./verb-audit.ts";
import { Watch } from "./watch/watch.ts";

export interface Log {
  info(text: string): void;
  warn(text: string): void;
  error(error: unknown, text: string): void;
}

export interface ComposeDeps {
  readonly config: Config;
  /** What does not stop the server, to be said on the page. */
  readonly problems: readonly Problem[];
  readonly demo: Demo | null;
  readonly log: Log;
  readonly listening: Listening;
  /** Where the system's programs are looked for. */
  readonly path: string;
  /** Environment that the deployment lets through to the agent. */
  readonly agentEnv: Readonly<Record<string, string>>;
}

export interface Server {
  /** The secret part of a one-time link. */
  mintLink(): string;
  /** Stops taking Turns, ends streams, settles, lets everything go. Resolves within about `closeMs`. */
  close(): Promise<void>;
}

/** Free bytes below which new Turns are refused. */
const reserveBytes = 64 * 1024 * 1024;
/** Reading whether agents are frozen has so long; until it is known the Broker refuses everything. */
const freezeMs = 1_000;
/** Connections that do not end by themselves get this long. */
const connectionGraceMs = 500;

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Builds the whole server behind a port that is already taken. Rejects with a sentence when it cannot. */
export async function compose({
  config,
  problems,
  demo,
  log,
  listening,
  path,
  agentEnv,
}: ComposeDeps): Promise<Server> {
  const clock = systemClock;
  const report = (error: unknown) => log.error(error, "the server failed at something");

  const kept = keptFolder(config.dataDir);
  if (kept === null)
    log.warn("what is kept in memory is lost with this process: somebody else has a folder of its name");
  const record = await openRecord({ directory: config.dataDir, clock, log });
  const { store } = record;
  const openInTime = record.problem() === null;
  // Only the process that holds the data directory may take over what a killed one left under its name.
  const runtimeName = openInTime ? nameOf(config.dataDir) : undefined;
  const audit = createAudit({
    store,
    clock,
    onLoss: ({ action, actor }, reason) =>
      log.warn(`not recorded in the audit log: ${action} by ${actor}. ${reason}`),
  });
  const secret = cookieSecret(openInTime ? config.dataDir : null, kept, log);
  const auth = createAuth({ clock, random: randomBytes, secret, config });

  const { ssh, power, mirror } = await composePower({
    config,
    demo,
    clock,
    record,
    audit,
    kept,
    runtimeName,
    path,
    warn: (text) => log.warn(text),
  });

  const agentSide = composeAgent({ config, demo, clock, env: agentEnv });
  const { agent, model, modelWatch } = agentSide;
  const accounts = createAccounts({ ssh, clock });
  const broker = createBroker({
    ssh,
    power,
    store,
    clock,
    newId: randomUUID,
    runtimeName,
    newToken: () => randomBytes(32).toString("base64url"),
    targets: config.targets.map(brokerTarget),
    standing: accounts.standing,
    log: (text) => log.warn(text),
  });
  // A freeze outlives the server; while it is not read the Broker refuses everything.
  const frozenRead = record.opened.then(() => broker.freeze.load()).catch(report);
  if (openInTime) await within(clock, freezeMs, frozenRead);

  const { runbooks, problems: runbookProblems } = await loadRunbooks({
    folder: join(root, "runbooks"),
    further: config.runbooks,
    clock,
  });
  for (const { option, mend } of runbookProblems) log.warn(`${option}: ${mend}`);
  const sessions = await Sessions.open({
    store,
    clock,
    agent,
    newTurnId: randomUUID,
    newSessionId: randomUUID,
    openDoor: (session) => broker.open(session),
    mode: () => config.mode,
    freeze: broker.freeze,
    runbooks,
    operation: (id) => power.get(id),
    targets: config.targets.map(({ name }) => name),
    limits: { turnsAtOnceMax: config.agent.maxConcurrentTurns, reserveBytes },
    report,
  });

  const targetOf = (name: string) => config.targets.find((target) => target.name === name);
  const watch = new Watch({
    clock,
    targets: config.targets.map((target, at) => ({
      name: target.name,
      isDefault: at === 0,
      askGuest: askGuest(ssh, target),
      askPower: askPower(power, target),
    })),
    others: (target) => ({
      ...operationsOf(power, target),
      refused_host_keys: refusedHostKeys(ssh, targetOf(target)),
    }),
    onChange: (all) => streams.targetsChanged(all),
  });
  const page = composeConsole({
    config,
    agentSide,
    broker,
    sessions,
    presets: [...(config.presets ?? defaultPresets), ...(demo ? [repairPreset] : [])],
    runbooks: () => runbooks.list(),
    model: () => modelWatch.now(),
    targets: () => watch.statuses(),
    noticeFacts: () => ({
      problems: [...problems, ...runbookProblems],
      storeProblem: record.problem(),
      accountProblems: accounts.problems(),
      keyProblem: config.targets.length > 0 ? ssh.problem() : null,
      demo: demo && { modelInUse: model.inUse(), hasCredential: model.hasCredential },
    }),
  });
  const audited = verbAudit({ audit, clock, mirror });
  const streams = new Streams({
    store,
    clock,
    keepaliveMs: config.sseKeepaliveSeconds * 1000,
    targets: () => watch.statuses(),
    console: () => page.now(),
    report,
  });
  broker.approvals.watch(() => streams.consoleChanged());
  broker.freeze.watch(() => streams.consoleChanged());
  modelWatch.watch(() => streams.consoleChanged());
  ssh.hostKeys.watch(() => watch.changed());
  power.watch((news) => {
    streams.operationChanged(news);
    if (news.output !== undefined) return;
    watch.changed();
    if (audited(news.operation)) watch.lookNow(news.operation.target);
  });

  const app = createApp({
    auth,
    audit,
    sessions,
    streams,
    store,
    power,
    clock,
    newKey: randomUUID,
    defaultTarget: defaultTarget(config.targets),
    facts: () => page.facts(),
    pendingApprovals: () => page.pendingApprovals(),
    approvals: broker.approvals,
    freeze: broker.freeze,
    targets: () => watch.statuses(),
    actions: demo
      ? new Map([
          ["wedge", () => demo.act("wedge")],
          ["use-model", async () => agentSide.useOwnModel()],
        ])
      : new Map(),
    pageFolder: join(root, "dist/web"),
    acceptHostKey: (target, side, fingerprint) =>
      acceptHostKey(ssh, targetOf(target), side, fingerprint)?.finally(() => watch.lookNow(target)) ?? null,
    report,
  });
  listening.serve(app.answer);
  const control = await openControl({
    // In the data directory, unless that is what does not answer: then in memory.
    path: join(openInTime || kept === null ? config.dataDir : kept, "control.sock"),
    port: listening.port,
    mintLink: () => auth.mintLink(),
    answer: app.answerOwner(`cli:${accountName()}`),
  }).catch((error: Error) => {
    log.warn(`\`breakglass link\` and \`breakglass verb\` cannot reach this server: ${error.message}`);
    return null;
  });
  watch.start();
  modelWatch.start();

  return {
    mintLink: () => auth.mintLink(),
    async close() {
      watch.close();
      modelWatch.close();
      // Each has its share of the time that the whole may take; what hangs is left, and settled at the next start.
      const step = (ms: number, ...ends: Promise<unknown>[]) => within(clock, ms, Promise.all(ends));
      await step(1_500, sessions.close());
      streams.close();
      await listening.close(connectionGraceMs);
      control?.close();
      await step(1_000, broker.close(), agent.close(), power.close());
      await step(500, ssh.close(), demo?.close() ?? Promise.resolve());
      await step(800, store.close());
    },
  };
}

function operationsOf(power: Power, target: string): Pick<TargetStatus, "current" | "last"> {
  const brief = (operation: ReturnType<Power["last"]>) =>
    operation && {
      id: operation.id,
      verb: operation.verb,
      by: operation.by,
      at: operation.settled_at ?? operation.requested_at,
      ...(operation.outcome && { outcome: operation.outcome.kind }),
    };
  return { current: brief(power.current(target)), last: brief(power.last(target)) };
}
