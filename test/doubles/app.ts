import { randomBytes, randomUUID } from "node:crypto";
import { createHash } from "node:crypto";
import { onTestFinished } from "vitest";
import type { ConsoleFacts, ConsoleNow, Mode, Notice } from "../../src/protocol/api.ts";
import type { TargetStatus } from "../../src/protocol/targets.ts";
import type { Agent } from "../../src/server/agent/agent.ts";
import { createAudit } from "../../src/server/audit/audit.ts";
import { createAuth } from "../../src/server/auth/auth.ts";
import type { Approvals } from "../../src/server/broker/approvals.ts";
import type { Freeze } from "../../src/server/broker/freeze.ts";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import { createApp } from "../../src/server/http/app.ts";
import type { HostKeyRoutesDeps } from "../../src/server/http/routes/host-keys.ts";
import { listen } from "../../src/server/http/listen.ts";
import { Streams } from "../../src/server/http/stream.ts";
import type { Hypervisor } from "../../src/server/power/hypervisor.ts";
import { createPower, type Power } from "../../src/server/power/power.ts";
import type { Runbooks } from "../../src/server/runbooks/runbooks.ts";
import type { SessionLimits } from "../../src/server/sessions/limits.ts";
import type { SessionDeps } from "../../src/server/sessions/session.ts";
import type { Store } from "../../src/server/store/store.ts";
import { HandFreeze, openSessions, scratchStore } from "./sessions.ts";

export const token = "a-token-that-is-long-enough-to-pass";
/** May only look. */
export const readToken = "another-token-that-is-long-enough";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** The whole HTTP surface over a real store, with an agent and a hypervisor of the test's choice. */
export async function startApp(options: {
  readonly agent: Agent;
  readonly hypervisor?: Hypervisor | null;
  readonly limits?: Partial<SessionLimits>;
  readonly store?: Store;
  readonly pageFolder?: string;
  readonly acceptHostKey?: HostKeyRoutesDeps["acceptHostKey"];
  readonly targets?: (power: Power) => readonly TargetStatus[];
  readonly notices?: readonly Notice[];
  readonly approvals?: Approvals;
  readonly freeze?: Pick<Freeze, "now" | "set" | "watch">;
  readonly openDoor?: SessionDeps["openDoor"];
  /** The configured one. */
  readonly mode?: Mode;
  readonly runbooks?: Runbooks;
  /** Of the Sessions. */
  readonly clock?: Clock;
}) {
  const clock = systemClock;
  const store = options.store ?? (await scratchStore());
  const problems: unknown[] = [];
  const report = (error: unknown) => void problems.push(error);
  const auth = createAuth({
    clock,
    random: randomBytes,
    secret: randomBytes(32),
    config: {
      listen: { host: "127.0.0.1", port: 0 },
      publicUrl: null,
      auth: {
        tokens: [
          { name: "ana", scope: "operate", sha256: sha256(token) },
          { name: "kim", scope: "read", sha256: sha256(readToken) },
        ],
        trustedProxies: [],
        proxySecret: null,
        edgeHeader: "X-authentik-username",
      },
    },
  });
  const power = createPower({
    targets: new Map([["devvm", options.hypervisor ?? null]]),
    comesBack: new Map(),
    store,
    clock,
    newId: randomUUID,
    verbTimeoutMs: 60_000,
    log: report,
  });
  await power.recover();
  const freeze = options.freeze ?? new HandFreeze();
  const sessions = await openSessions(store, options.agent, { ...options, freeze, report });
  const pendingApprovals = () =>
    (options.approvals?.pending() ?? []).map((each) => ({
      ...each,
      session_name: sessions.summary(each.session_id)?.name ?? "",
    }));
  const now = (): ConsoleNow => ({
    frozen: freeze.now(),
    model: { state: "unknown", since: "2026-01-01T00:00:00.000Z", detail: "" },
    approvals: pendingApprovals(),
  });
  const streams = new Streams({
    store,
    clock,
    keepaliveMs: 60_000,
    targets: () => [],
    console: now,
    report,
  });
  freeze.watch(() => streams.consoleChanged());
  options.approvals?.watch(() => streams.consoleChanged());
  const app = createApp({
    auth,
    audit: createAudit({ store, clock, onLoss: (_, reason) => report(reason) }),
    sessions,
    streams,
    store,
    pendingApprovals,
    approvals: options.approvals ?? { decide: async () => ({ kind: "none" }) },
    freeze,
    power,
    clock,
    newKey: randomUUID,
    defaultTarget: "devvm",
    acceptHostKey: options.acceptHostKey ?? (() => null),
    facts: () =>
      ({
        version: "0.0.0",
        notices: options.notices ?? [],
        targets: options.targets?.(power) ?? [],
        now: now(),
      }) as unknown as Omit<ConsoleFacts, "actor">,
    targets: () => [],
    actions: new Map(),
    pageFolder: options.pageFolder ?? "dist/none",
    report,
  });
  const listening = await listen({ host: "127.0.0.1", port: 0, headers: auth.securityHeaders("/health") });
  listening.serve(app.answer);
  onTestFinished(async () => {
    streams.close();
    await sessions.close();
    await listening.close(0);
    await power.close();
  });
  const url = `http://127.0.0.1:${listening.port}`;
  const authorization = { authorization: `Bearer ${token}` };

  /** One request with the bearer; a body that is no string goes as JSON. */
  async function ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ) {
    const response = await fetch(url + path, {
      method,
      headers: { ...authorization, ...headers },
      ...(body !== undefined && {
        body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
      }),
    } as RequestInit);
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
    };
  }

  return { url, ask, authorization, auth, app, store, sessions, streams, power, problems };
}
