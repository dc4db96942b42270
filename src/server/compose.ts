import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { repairPreset } from "../../demo/presets.ts";
import type { ConsoleFacts } from "../protocol/api.ts";
import type { OperationId } from "../protocol/ids.ts";
import type { TargetStatus } from "../protocol/targets.ts";
import { claudeAgent } from "./agent/claude/agent.ts";
import { createModelWatch } from "./agent/model.ts";
import { createAudit } from "./audit/audit.ts";
import type { AuditFact } from "./audit/entry.ts";
import { createAuth } from "./auth/auth.ts";
import { keepSecret, secretBytes } from "./auth/secret.ts";
import { createBroker } from "./broker/broker.ts";
import { systemClock, within } from "./clock.ts";
import type { Config, Problem } from "./config/config.ts";
import type { Demo } from "./demo.ts";
import { createApp } from "./http/app.ts";
import { openControl } from "./http/control.ts";
import type { Listening } from "./http/listen.ts";
import { Streams } from "./http/stream.ts";
import { noticesOf } from "./notices.ts";
import { createPower, type Power } from "./power/power.ts";
import { mirrorIn, spoolFolders } from "./power/spool.ts";
import { bringInSpooled, spooledIn, verbFact } from "./power/spooled.ts";
import { defaultPresets } from "./presets.ts";
import { openRecord } from "./record.ts";
import { Sessions } from "./sessions/sessions.ts";
import {
  acceptHostKey,
  accountName,
  askGuest,
  askPower,
  brokerTarget,
  guestAlias,
  guestsComeBack,
  hypervisors,
  observeAlias,
  powerAlias,
  refusedHostKeys,
  sshHosts,
  type PinnedKeys,
} from "./sides.ts";
import { keptFolder, nameOf } from "./ssh/runtime-folder.ts";
import { openSsh } from "./ssh/ssh.ts";
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
/** An idle agent process ends after this long, and is resumed by its next Turn. */
const agentIdleMs = 10 * 60_000;
/** A request to the model without an answer counts as failed after this long. */
const apiTimeoutMs = 120_000;
/** Bringing in what was spooled has so long; then it goes on while the server works. */
const spooledMs = 1_500;
/** An audit entry of a Verb that the disk has refused is offered again after this long. */
const auditAgainMs = 10_000;
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
  const defaultTarget = config.targets[0]?.name ?? "devvm";

  const kept = keptFolder(config.dataDir);
  if (kept === null)
    log.warn("what is kept in memory is lost with this process: somebody else has a folder of its name");
  const [onDisk = "", inMemory = ""] = spoolFolders(config.dataDir, kept);
  // What lies there now was left by a process that is gone; from here on our own is among it.
  const leftInMemory = kept === null ? new Set<OperationId>() : await spooledIn(inMemory);

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

  const ssh = await openSsh({
    hosts: sshHosts(config.targets, demo ? demoKeys(demo, defaultTarget) : {}),
    keyPath: config.keyPath ?? undefined,
    knownHostsDir: config.dataDir,
    knownHostsCopy: kept === null ? undefined : join(kept, "known_hosts"),
    runtimeName,
    path,
    log: (text) => log.warn(text),
  });
  const verbTimeoutMs = config.verbTimeoutSeconds * 1000;
  const mirror = kept === null ? undefined : mirrorIn(kept, (text) => log.warn(text));
  const power = createPower({
    targets: hypervisors({ ssh, clock, resendMs: verbTimeoutMs }, config.targets),
    comesBack: guestsComeBack({ ssh, clock }, config.targets),
    store,
    clock,
    newId: randomUUID,
    verbTimeoutMs,
    log: (text) => log.warn(text),
    mirror,
  });
  /** What was before this start: the spool first, so that what is open in it is looked up as well. */
  const takeUp = async () => {
    const deps = { store, audit, clock, log: (text: string) => log.warn(text) };
    await within(
      clock,
      spooledMs,
      bringInSpooled(deps, onDisk).then(() => bringInSpooled(deps, inMemory, leftInMemory)),
    );
    await power.recover();
  };
  if (openInTime) await takeUp();
  else void record.opened.then(takeUp);

  const model = modelChoice(config, demo);
  const modelWatch = createModelWatch({ clock, endpoint: model.endpoint, env: agentEnv });
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
    env: agentEnv,
    agentsWarmMax: config.agent.warmMax,
    idleMs: agentIdleMs,
    apiTimeoutMs,
    silenceMs: config.agent.silenceTimeoutSeconds * 1000,
    turnTimeoutMs: config.agent.turnTimeoutSeconds * 1000,
    modelCallsMax: config.agent.modelCallsMax,
    outputCharsMax: config.agent.outputCharsMax,
    turnCostUsdMax: config.agent.turnCostUsdMax ?? undefined,
  });
  const agentProblem = () => config.agent.problem ?? definition.problem ?? model.problem() ?? agent.problem();

  const broker = createBroker({
    ssh,
    power,
    clock,
    newId: randomUUID,
    runtimeName,
    newToken: () => randomBytes(32).toString("base64url"),
    targets: config.targets.map(brokerTarget),
    log: (text) => log.warn(text),
  });
  const sessions = await Sessions.open({
    store,
    clock,
    agent: { ...agent, problem: agentProblem },
    newTurnId: randomUUID,
    newSessionId: randomUUID,
    openDoor: (session) => broker.open(session),
    mode: () => config.mode,
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
  const unaudited = new Map<OperationId, () => void>();
  /** Offered until the disk takes it; until then the Operation stays in the spool, whose bringing in would audit it. */
  const auditVerb = async (id: OperationId, fact: AuditFact) => {
    while (!(await audit.record(fact)))
      await new Promise<void>((resolve) => clock.after(auditAgainMs, resolve));
    unaudited.get(id)?.();
    unaudited.delete(id);
  };
  const streams = new Streams({
    store,
    clock,
    keepaliveMs: config.sseKeepaliveSeconds * 1000,
    targets: () => watch.statuses(),
    report,
  });
  ssh.hostKeys.watch(() => watch.changed());
  power.watch((news) => {
    streams.operationChanged(news);
    if (news.output !== undefined) return;
    watch.changed();
    const { id } = news.operation;
    // From the asking on: whatever ends this process before the audit entry is on disk, the next one writes it.
    if (mirror !== undefined && !unaudited.has(id)) unaudited.set(id, mirror.keep(id, null));
    const fact = verbFact(news.operation);
    if (fact === null) return;
    void auditVerb(id, fact);
    watch.lookNow(news.operation.target);
  });

  const presets = [...(config.presets ?? defaultPresets), ...(demo ? [repairPreset] : [])];
  const facts = (): Omit<ConsoleFacts, "actor"> => ({
    version: version(),
    mode: config.mode,
    isolation: { kind: agent.isolation, says: "" },
    agent_problem: agentProblem(),
    presets,
    targets: watch.statuses(),
    notices: noticesOf({
      problems,
      storeProblem: record.problem(),
      keyProblem: config.targets.length > 0 ? ssh.problem() : null,
      demo: demo && { modelInUse: model.inUse(), hasCredential: model.hasCredential },
    }),
    runbooks: [],
    now: { frozen: null, model: modelWatch.now(), approvals: [] },
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
    defaultTarget,
    facts,
    targets: () => watch.statuses(),
    actions: demo
      ? new Map([
          ["wedge", () => demo.act("wedge")],
          [
            "use-model",
            async () => {
              model.useOwn();
              modelWatch.look();
            },
          ],
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

/** A copy in memory serves while the data directory (null) hangs: then nobody is signed out by a disk. */
function cookieSecret(dataDir: string | null, kept: string | null, log: Log): Buffer {
  const keepIn = (folder: string) =>
    keepSecret({ dataDir: folder, random: randomBytes, onTrouble: (sentence) => log.warn(sentence) });
  if (dataDir === null) return kept === null ? randomBytes(secretBytes) : keepIn(kept);
  const secret = keepIn(dataDir);
  if (kept !== null) writeFileSync(join(kept, "cookie-secret"), secret, { mode: 0o600 });
  return secret;
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

function demoKeys({ guest, hypervisor }: Demo, target: string): PinnedKeys {
  return {
    [guestAlias(target)]: guest.hostKey,
    [observeAlias(target)]: guest.hostKey,
    [powerAlias(target)]: hypervisor.hostKey,
  };
}

function version(): string {
  const text = readFileSync(join(root, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
