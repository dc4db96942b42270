import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import type {
  ApprovalRequest,
  ConsoleFacts,
  ConsoleNow,
  FreezeRequest,
  HostKeyRequest,
  Mode,
  ModeNow,
  Operation,
  OperationRequest,
  PendingApproval,
  PromptRequest,
  RunbookRequest,
  SessionSummary,
} from "../../src/protocol/api.ts";
import type { ApprovalDecided, EventBody } from "../../src/protocol/events.ts";
import type { SessionId } from "../../src/protocol/ids.ts";
import type { TargetStatus } from "../../src/protocol/targets.ts";

/** The policy that the real server sends: what it forbids must fail here too. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; " +
  "worker-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

interface Client {
  readonly response: ServerResponse;
  readonly session: SessionId;
}

/** What a request is answered instead of the usual; `lose` does the work and then breaks the line. */
export type Twist =
  | { readonly kind: "answer"; readonly status: number; readonly body: unknown }
  | { readonly kind: "lose" }
  | { readonly kind: "lose-before" };

/** The API of docs/protocol.md as a page sees it, told by a test what happens. */
export class FakeServer {
  facts: ConsoleFacts = someFacts();
  readonly sessions: SessionSummary[] = [];
  readonly logs = new Map<SessionId, unknown[]>();
  readonly operations = new Map<string, Operation>();
  /** What the machine showed before it was touched: a PNG. */
  screen: Buffer = Buffer.alloc(0);
  readonly requests: { readonly method: string; readonly path: string; readonly body: unknown }[] = [];
  /** One per request to a path that begins so, used up in order. */
  readonly twists: { readonly path: string; readonly twist: Twist }[] = [];
  /** Called when a prompt was taken, an Operation requested, a host key accepted, a Turn cancelled. */
  whenPrompted: (session: SessionId, request: PromptRequest) => void = () => undefined;
  whenAsked: (operation: Operation) => void = () => undefined;
  whenAccepted: (request: HostKeyRequest) => void = () => undefined;
  whenCancelled: (session: SessionId) => void = () => undefined;
  whenRunbookAsked: (session: SessionId, request: RunbookRequest) => void = () => undefined;
  /** What is kept of a command's output, by the last part of its path; the report of every Session. */
  readonly outputs = new Map<string, string>();
  report = "# Incident\n";
  signedInByDefault = true;
  beatSeconds = 15;
  /** Streams are refused by breaking the line. */
  streamsDown = false;
  /** How far its clock is ahead of this process's. */
  aheadMs = 0;
  /** Says that the replay has ended: at once, or when a test lets it. */
  whenReplayed = (say: () => void): void => say();
  /** The next stream begins with `reset` and the whole log, as after a restored store. */
  resetOnce = false;

  #modes = new Map<SessionId, ModeNow>();
  #clients = new Set<Client>();
  #prompts = new Set<string>();
  #page: string;
  #server = createServer((request, response) => {
    response.setHeader("date", new Date(Date.now() + this.aheadMs).toUTCString());
    void this.#answer(request, response);
  });

  constructor(page: string) {
    this.#page = page;
  }

  async listen(port = 0): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.listen(port, "127.0.0.1", resolve);
    await promise;
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  newSession(name = "A session"): SessionId {
    const session_id = randomUUID();
    const created_at = new Date().toISOString();
    this.sessions.unshift({ session_id, name, created_at, by: "ana", archived: false, running: false });
    this.logs.set(session_id, []);
    return session_id;
  }

  /** Stores an Event and shows it to whoever is attached. `extra`: `turn`, `by`, or an `at` of its own. */
  append(
    session: SessionId,
    body: EventBody | { readonly kind: "from-the-future" },
    extra: object = {},
  ): void {
    const log = this.logs.get(session)!;
    const event = { ...body, id: log.length, at: new Date().toISOString(), ...extra };
    log.push(event);
    for (const client of this.#clients)
      if (client.session === session) client.response.write(numbered(event));
  }

  /** An unnumbered frame to all who are attached. */
  frame(name: string, data: unknown): void {
    for (const { response } of this.#clients)
      response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  setNow(change: Partial<ConsoleNow>): void {
    this.facts = { ...this.facts, now: { ...this.facts.now, ...change } };
    this.frame("console", this.facts.now);
  }

  setMode(session: SessionId, mode: ModeNow): void {
    this.#modes.set(session, mode);
    for (const { response, session: attached } of this.#clients)
      if (attached === session) response.write(`event: mode\ndata: ${JSON.stringify(mode)}\n\n`);
  }

  modeOf(session: SessionId): ModeNow {
    return this.#modes.get(session) ?? { mode: this.facts.mode };
  }

  /** A request waits from now on, and its Event is in the Session. */
  askApproval(asked: PendingApproval): void {
    const { session_id, session_name: _, asked_at, stdin, ...told } = asked;
    const { text = "", bytes, sha256 } = stdin;
    const event = {
      ...told,
      kind: "approval",
      stdin: { bytes, sha256, excerpt: text.slice(0, 400) },
    } as const;
    this.append(session_id, event, { by: "agent", at: asked_at });
    this.setNow({ approvals: [...this.facts.now.approvals, asked] });
  }

  /** Decided by whomever: it waits no more. */
  decideApproval(
    asked: PendingApproval,
    decided: Pick<ApprovalDecided, "decision" | "reason">,
    by: string,
  ): void {
    this.append(asked.session_id, { kind: "decision", approval: asked.approval, ...decided }, { by });
    this.setNow({
      approvals: this.facts.now.approvals.filter(({ approval }) => approval !== asked.approval),
    });
  }

  setTarget(change: Partial<TargetStatus>): void {
    this.facts = { ...this.facts, targets: this.facts.targets.map((target) => ({ ...target, ...change })) };
    this.frame("targets", this.facts.targets);
  }

  /** The Operation goes on: output is added, or it is settled. */
  progress(id: string, change: Partial<Operation>, text?: string): void {
    const before = this.operations.get(id)!;
    const after: Operation = { ...before, ...change, output: before.output + (text ?? "") };
    this.operations.set(id, after);
    const output = text === undefined ? {} : { output: { from: before.output.length, text } };
    const { forensics: _, ...told } = after;
    this.frame("operation", { operation: { ...told, output: "" }, ...output });
  }

  get attached(): number {
    return this.#clients.size;
  }

  dropStreams(): void {
    for (const { response } of this.#clients) response.destroy();
  }

  asked(path: string): unknown[] {
    return this.requests.filter((request) => request.path.endsWith(path)).map(({ body }) => body);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://127.0.0.1");
    response.setHeader("content-security-policy", policy);
    if (!url.pathname.startsWith("/api/")) return this.#file(url.pathname, response);
    const body = await bodyOf(request);
    this.requests.push({ method: request.method ?? "", path: url.pathname, body });
    const at = this.twists.findIndex(({ path }) => url.pathname.endsWith(path));
    const twist = at < 0 ? undefined : this.twists.splice(at, 1)[0]!.twist;
    if (twist?.kind === "answer") return json(response, twist.status, twist.body);
    if (twist?.kind === "lose-before") return void response.destroy();
    if (twist?.kind === "lose") {
      const lost = new Proxy(response, {
        get: (target, name) =>
          name === "end" ? () => target.destroy() : Reflect.get(target, name).bind?.(target),
      });
      return this.#api(request, url, body, lost);
    }
    return this.#api(request, url, body, response);
  }

  #api(request: IncomingMessage, url: URL, body: unknown, response: ServerResponse): void {
    if (url.pathname === "/api/login") return login(body as Record<string, unknown>, response);
    const signedIn = this.signedInByDefault || (request.headers.cookie ?? "").includes("breakglass=yes");
    if (!signedIn)
      return json(response, 401, { detail: "Sign in first: open a one-time link or send a token." });
    if (url.pathname === "/api/logout") return json(response, 200, {});
    if (url.pathname === "/api/console") return json(response, 200, this.facts);
    if (url.pathname === "/api/sessions") return json(response, 200, this.sessions);
    if (url.pathname === "/api/session")
      return json(response, 200, { session_id: this.newSession("New session") });
    if (url.pathname === "/api/approvals") return json(response, 200, this.facts.now.approvals);
    if (url.pathname === "/api/freeze") {
      const { frozen } = body as FreezeRequest;
      this.setNow({ frozen: frozen ? { by: "ana", at: new Date().toISOString() } : null });
      return json(response, 200, { frozen: this.facts.now.frozen, durable: true });
    }
    if (url.pathname.startsWith("/api/mend")) return json(response, 200, {});
    const operation = /^\/api\/operations\/([^/]+)$/.exec(url.pathname)?.[1];
    if (operation !== undefined) return json(response, 200, this.operations.get(operation));
    if (/^\/api\/operations\/[^/]+\/screen$/.test(url.pathname)) {
      response.writeHead(200, { "content-type": "image/png" });
      return void response.end(this.screen);
    }
    const target = /^\/api\/targets\/([^/]+)\/operations$/.exec(url.pathname)?.[1];
    if (target !== undefined) return this.#operate(target, body as OperationRequest, response);
    if (url.pathname.endsWith("/host-key")) {
      this.whenAccepted(body as HostKeyRequest);
      return json(response, 200, { target: "devvm", ...(body as HostKeyRequest), was: null, durable: true });
    }
    const [, session, rest] = /^\/api\/session\/([^/]+)(.*)$/.exec(url.pathname) ?? [];
    const log = this.logs.get(session as SessionId);
    if (log === undefined) return json(response, 404, { detail: "There is no such session." });
    return this.#session(session as SessionId, log, rest ?? "", { url, body, request, response });
  }

  #session(
    session: SessionId,
    log: readonly unknown[],
    rest: string,
    {
      url,
      body,
      request,
      response,
    }: { url: URL; body: unknown; request: IncomingMessage; response: ServerResponse },
  ): void {
    const number = (name: string) => Number(url.searchParams.get(name));
    switch (rest) {
      case "/stream":
        return this.#attach(session, log, url, request, response);
      case "/events": {
        const end = url.searchParams.has("before") ? number("before") : log.length;
        const from = Math.max(0, end - number("limit"));
        return json(response, 200, { events: log.slice(from, end), more: from > 0 });
      }
      case "/prompt": {
        const asked = body as PromptRequest;
        const known = this.#prompts.has(asked.key ?? "");
        if (asked.key) this.#prompts.add(asked.key);
        json(response, 200, { status: "started" });
        if (!known) this.whenPrompted(session, asked);
        return;
      }
      case "/runbook": {
        const asked = body as RunbookRequest;
        const known = this.#prompts.has(asked.key ?? "");
        if (asked.key) this.#prompts.add(asked.key);
        json(response, 200, { status: "started" });
        if (!known) this.whenRunbookAsked(session, asked);
        return;
      }
      case "/report":
        return text(response, this.report);
      case "/cancel":
        json(response, 200, { cancelled: true });
        return this.whenCancelled(session);
      default: {
        const kept = this.outputs.get(rest);
        if (kept !== undefined) return text(response, kept);
        const approval = /^\/approvals\/(.+)$/.exec(rest)?.[1];
        if (approval !== undefined) return this.#decide(approval, body as ApprovalRequest, response);
        if (request.method === "PATCH") this.#change(session, body as { mode: Mode });
        const summary = this.sessions.find(({ session_id }) => session_id === session);
        return json(response, 200, { ...summary, mode: this.modeOf(session) });
      }
    }
  }

  #change(session: SessionId, { mode }: { mode: Mode }): void {
    const until = new Date(Date.now() + 30 * 60_000).toISOString();
    const now: ModeNow = mode === "autonomous" ? { mode, until, back_to: "supervised" } : { mode };
    this.setMode(session, now);
    this.append(session, { kind: "mode", ...now }, { by: "ana" });
  }

  #decide(approval: string, { decision, sha256 }: ApprovalRequest, response: ServerResponse): void {
    const asked = this.facts.now.approvals.find((each) => each.approval === approval);
    if (asked === undefined)
      return json(response, 409, { detail: "It was answered before: approved by ben at 10:02." });
    if (asked.sha256 !== sha256)
      return json(response, 409, { detail: "What you saw is another request. Look at this one again." });
    const decided = decision === "approve" ? "approved" : "denied";
    json(response, 200, { approval, decision: decided });
    this.decideApproval(asked, { decision: decided }, "ana");
  }

  #attach(
    session: SessionId,
    log: readonly unknown[],
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    if (this.streamsDown) return void response.destroy();
    const asked = request.headers["last-event-id"] ?? url.searchParams.get("last_event_id");
    const from =
      asked === null
        ? Math.max(0, log.length - Number(url.searchParams.get("tail") ?? log.length))
        : Number(asked) + 1;
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    response.write(`retry: 1000\n\nevent: beat\ndata: ${this.beatSeconds}\n\n`);
    const whole = from > log.length || this.resetOnce;
    this.resetOnce = false;
    if (whole) response.write("event: reset\ndata: {}\n\n");
    const frames = log.slice(whole ? 0 : from).map(numbered);
    response.write(frames.join(""));
    this.whenReplayed(() => {
      response.write(`event: caught-up\ndata: {}\n\n`);
      response.write(`event: targets\ndata: ${JSON.stringify(this.facts.targets)}\n\n`);
      response.write(`event: mode\ndata: ${JSON.stringify(this.modeOf(session))}\n\n`);
      response.write(`event: console\ndata: ${JSON.stringify(this.facts.now)}\n\n`);
    });
    const client = { response, session };
    this.#clients.add(client);
    response.on("close", () => this.#clients.delete(client));
  }

  #operate(target: string, { verb, key }: OperationRequest, response: ServerResponse): void {
    const known = this.operations.get(key);
    const requested_at = new Date().toISOString();
    const operation = known ?? { id: key, target, verb, by: "ana", requested_at, durable: true, output: "" };
    this.operations.set(key, operation);
    json(response, 202, operation);
    if (known === undefined) this.whenAsked(operation);
  }

  async #file(path: string, response: ServerResponse): Promise<void> {
    const name = path === "/" ? "/index.html" : normalize(path);
    try {
      const content = await readFile(join(this.#page, name));
      response
        .writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream" })
        .end(content);
    } catch {
      response.writeHead(404).end();
    }
  }
}

function someFacts(): ConsoleFacts {
  const since = new Date(Date.now() - 3 * 3600 * 1000).toISOString();
  const at = new Date(Date.now() - 4000).toISOString();
  const about = [
    "What is wrong? Load, memory, disks, units, kernel",
    "Pressure, top consumers, recent OOM kills",
    "What fills it, what is safe to clear",
    "Failed or stuck units and their last words",
    "Does it answer, and is a cycle needed?",
  ];
  const names = ["Triage", "Memory / OOM", "Disk", "Services", "QEMU wedged?"];
  return {
    version: "0.1.0",
    actor: "ana",
    mode: "supervised",
    isolation: { kind: "bubblewrap", says: "Confined: it sees nothing of this server." },
    runbooks: [],
    now: { frozen: null, model: { state: "answers", since, detail: "" }, approvals: [] },
    agent_problem: null,
    presets: names.map((name, n) => ({
      name,
      about: about[n]!,
      prompt: `Look at devvm: ${name}. Change nothing.`,
    })),
    notices: [],
    targets: [
      {
        name: "devvm",
        is_default: true,
        state: "up",
        since,
        power: true,
        current: null,
        last: null,
        evidence: [
          { probe: "ssh banner", ok: true, seen: "SSH-2.0-OpenSSH_9.2p1 after 4 ms", at },
          { probe: "ssh round trip", ok: true, seen: "true answered 0 after 31 ms", at },
          { probe: "hypervisor status", ok: true, seen: "running, QMP answers, pid 4127", at },
        ],
      },
    ],
  };
}

function login({ token, link }: Record<string, unknown>, response: ServerResponse): void {
  if (token !== "good-token" && link !== "good-link")
    return json(response, 401, {
      detail: "That link or token is not good any more. Ask the server for a new one.",
    });
  response.setHeader("set-cookie", "breakglass=yes; HttpOnly; SameSite=Strict; Path=/");
  json(response, 200, {});
}

function numbered(event: unknown): string {
  return `id: ${(event as { id: number }).id}\ndata: ${JSON.stringify(event)}\n\n`;
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function text(response: ServerResponse, body: string): void {
  response.writeHead(200, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
  });
  response.end(body);
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += String(chunk);
  return text === "" ? undefined : JSON.parse(text);
}
