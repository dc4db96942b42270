import type { IncomingMessage } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { compress } from "hono/compress";
import type { ErrorBody } from "../../protocol/api.ts";
import type { Audit } from "../audit/audit.ts";
import type { Actor, Auth } from "../auth/auth.ts";
import { authRequest } from "../auth/request.ts";
import type { Env } from "./env.ts";
import type { Answer } from "./listen.ts";
import { pageRoutes } from "./page.ts";
import { Refusal, refusalOf } from "./refusal.ts";
import { approvalRoutes, type ApprovalRoutesDeps } from "./routes/approvals.ts";
import { consoleRoutes, type ConsoleRoutesDeps } from "./routes/console.ts";
import { execRoutes } from "./routes/exec.ts";
import { freezeRoutes, type FreezeRoutesDeps } from "./routes/freeze.ts";
import { hostKeyRoutes, type HostKeyRoutesDeps } from "./routes/host-keys.ts";
import { loginRoutes } from "./routes/login.ts";
import { powerRoutes, type PowerRoutesDeps } from "./routes/power.ts";
import { reportRoutes } from "./routes/report.ts";
import { rescueRoutes, type RescueRoutesDeps } from "./routes/rescue.ts";
import { sessionRoutes, type SessionRoutesDeps } from "./routes/sessions.ts";

export interface AppDeps
  extends
    SessionRoutesDeps,
    ApprovalRoutesDeps,
    FreezeRoutesDeps,
    PowerRoutesDeps,
    HostKeyRoutesDeps,
    ConsoleRoutesDeps,
    RescueRoutesDeps {
  readonly auth: Auth;
  readonly audit: Audit;
  /** Folder of the built page. */
  readonly pageFolder: string;
  /** Told of what is our own fault, once. */
  readonly report: (error: unknown) => void;
}

export interface App {
  /** For the port: everybody has to say who they are. */
  readonly answer: Answer;
  /** For the control socket: whoever could open it is the Operator `owner`. */
  answerOwner(owner: string): Answer;
}

/** The whole HTTP surface but /health (listen.ts): doors first, then routes, then the page. */
export function createApp(deps: AppDeps): App {
  const { auth, audit, report } = deps;
  const app = new Hono<Env>();

  app.use("*", async (c, next) => {
    // Set on Node's response beforehand: then every answer has them, streams and errors included.
    for (const [name, value] of Object.entries(auth.securityHeaders(c.req.path)))
      c.env.outgoing.setHeader(name, value);
    await next();
  });

  app.use("/api/*", compress());
  app.route("/api", loginRoutes(auth, audit));

  app.use("/api/*", async (c, next) => {
    const { name: actor, scope } = ownerOf(c.env) ?? admitted(auth, c.env.incoming);
    c.set("actor", actor);
    c.set("scope", scope);
    await next();
    if (c.req.method !== "GET" && c.req.method !== "HEAD") {
      // Not awaited: a hung disk must not hold the answer of a Verb back. A loss is reported by the audit itself.
      void audit.record({
        actor,
        action: `${c.req.method} ${c.req.path}`,
        ...(c.var.audited !== undefined && { detail: c.var.audited }),
        outcome: String(c.res.status),
      });
    }
  });
  app.route("/api", sessionRoutes(deps));
  app.route("/api", approvalRoutes(deps));
  app.route("/api", freezeRoutes(deps));
  app.route("/api", execRoutes(deps));
  app.route("/api", reportRoutes({ ...deps, summary: (id) => deps.sessions.summary(id) }));
  app.route("/api", powerRoutes(deps));
  app.route("/api", hostKeyRoutes(deps));
  app.route("/api", consoleRoutes(deps));
  app.all("/api/*", () => {
    throw new Refusal(404, "There is no such route. docs/protocol.md lists what there is.");
  });

  app.route("/rescue", rescueRoutes(deps));
  app.route("/", pageRoutes(deps.pageFolder));

  app.notFound((c) =>
    c.json<ErrorBody>(
      { detail: "There is nothing at this address. The page is at /, and without JavaScript at /rescue." },
      404,
    ),
  );
  app.onError((error, c) => {
    const refusal = refusalOf(error);
    if (refusal.status === 500) report(error);
    for (const [name, value] of Object.entries(refusal.headers)) c.header(name, value);
    return c.json<ErrorBody>({ detail: refusal.message }, refusal.status);
  });
  const answering = (bindings: Pick<Env["Bindings"], "owner">): Answer => {
    const listener = getRequestListener((request, env) => app.fetch(request, { ...env, ...bindings }), {
      overrideGlobalObjects: false,
    });
    return (request, response) => void listener(request, response);
  };
  return { answer: answering({}), answerOwner: (owner) => answering({ owner }) };
}

type Admitted = Pick<Actor, "name" | "scope">;

function ownerOf({ owner }: Env["Bindings"]): Admitted | null {
  return owner === undefined ? null : { name: owner, scope: "operate" };
}

function admitted(auth: Auth, incoming: IncomingMessage): Admitted {
  const answer = auth.admit(authRequest(incoming));
  if (answer.kind === "refused") throw new Refusal(answer.status, answer.detail, answer.headers);
  return answer;
}
