import { randomBytes, randomUUID } from "node:crypto";
import { createHash } from "node:crypto";
import { onTestFinished } from "vitest";
import type { ConsoleFacts } from "../../src/protocol/api.ts";
import type { Agent } from "../../src/server/agent/agent.ts";
import { createAudit } from "../../src/server/audit/audit.ts";
import { createAuth } from "../../src/server/auth/auth.ts";
import { systemClock } from "../../src/server/clock.ts";
import { createApp } from "../../src/server/http/app.ts";
import type { HostKeyRoutesDeps } from "../../src/server/http/routes/host-keys.ts";
import { listen } from "../../src/server/http/listen.ts";
import { Streams } from "../../src/server/http/stream.ts";
import type { Hypervisor } from "../../src/server/power/hypervisor.ts";
import { createPower } from "../../src/server/power/power.ts";
import type { SessionLimits } from "../../src/server/sessions/limits.ts";
import type { Store } from "../../src/server/store/store.ts";
import { openSessions, scratchStore } from "./sessions.ts";

const token = "a-token-that-is-long-enough-to-pass";

/** The whole HTTP surface over a real store, with an agent and a hypervisor of the test's choice. */
export async function startApp(options: {
  readonly agent: Agent;
  readonly hypervisor?: Hypervisor | null;
  readonly limits?: Partial<SessionLimits>;
  readonly store?: Store;
  readonly pageFolder?: string;
  readonly acceptHostKey?: HostKeyRoutesDeps["acceptHostKey"];
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
        tokens: [{ name: "ana", scope: "operate", sha256: createHash("sha256").update(token).digest("hex") }],
        trustedProxies: [],
        proxySecret: null,
        edgeHeader: "X-authentik-username",
      },
    },
  });
  const power = createPower({
    targets: new Map([["devvm", options.hypervisor ?? null]]),
    store,
    clock,
    newId: randomUUID,
    verbTimeoutMs: 60_000,
    log: report,
  });
  await power.recover();
  const sessions = await openSessions(store, options.agent, {
    ...(options.limits && { limits: options.limits }),
    report,
  });
  const streams = new Streams({ store, clock, keepaliveMs: 60_000, targets: () => [], report });
  const app = createApp({
    auth,
    audit: createAudit({ store, clock, onLoss: (_, reason) => report(reason) }),
    sessions,
    streams,
    store,
    power,
    defaultTarget: "devvm",
    facts: () => ({ version: "0.0.0" }) as unknown as Omit<ConsoleFacts, "actor">,
    targets: () => [],
    actions: new Map(),
    pageFolder: options.pageFolder ?? "dist/none",
    acceptHostKey: options.acceptHostKey ?? (() => null),
    report,
  });
  const listening = await listen({ host: "127.0.0.1", port: 0, headers: auth.securityHeaders("/health") });
  listening.serve(app);
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

  return { url, ask, authorization, auth, store, sessions, streams, power, problems };
}
