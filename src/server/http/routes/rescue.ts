import { readFileSync } from "node:fs";
import { Hono, type Context } from "hono";
import type { ConsoleFacts } from "../../../protocol/api.ts";
import type { OperationId } from "../../../protocol/ids.ts";
import type { TargetStatus } from "../../../protocol/targets.ts";
import { parseVerb, verbs } from "../../../protocol/verbs.ts";
import type { Audit } from "../../audit/audit.ts";
import type { Auth } from "../../auth/auth.ts";
import { authRequest } from "../../auth/request.ts";
import type { Clock } from "../../clock.ts";
import type { Power } from "../../power/power.ts";
import { formBody } from "../body.ts";
import type { Env } from "../env.ts";
import { Refusal, refusalOf } from "../refusal.ts";
import { confirmPage } from "../rescue/confirm.ts";
import { machinesPage, type Visitor } from "../rescue/machines.ts";
import { operationPage } from "../rescue/operation.ts";
import { refusalPage, signInPage } from "../rescue/sign-in.ts";
import { formBytesMax, rescueLoginBody, rescueOperationBody } from "../requests.ts";
import { findOperation, notAccepted } from "./power.ts";

export interface RescueRoutesDeps {
  readonly auth: Auth;
  readonly audit: Audit;
  readonly power: Power;
  readonly clock: Clock;
  readonly newKey: () => OperationId;
  readonly facts: () => Omit<ConsoleFacts, "actor">;
  readonly report: (error: unknown) => void;
}

const style = readFileSync(new URL("../rescue/rescue.css", import.meta.url), "utf8");

/**
 * The power path for whatever shows HTML: no script, no built page, no store, no agent. A visit without a cookie gets the way
 * in instead of a bare 401: from elsewhere a browser does not send it (SameSite=Strict), but it does after one tap here.
 */
export function rescueRoutes(deps: RescueRoutesDeps): Hono<Env> {
  const { auth, audit, power, clock, newKey, facts, report } = deps;
  const routes = new Hono<Env>();
  const now = () => clock.now().getTime();

  routes.get("/style.css", (c) =>
    c.body(style, 200, { "Content-Type": "text/css; charset=utf-8", "Cache-Control": "no-cache" }),
  );

  routes.post("/login", async (c) => {
    const { credential } = await formBody(c, rescueLoginBody, formBytesMax);
    // The link as it was printed, or only what is secret in it.
    const secret = credential.slice(credential.lastIndexOf("#k=") + 1).replace(/^k=/, "");
    const answer = auth.login(authRequest(c.env.incoming), secret);
    if (answer.kind === "refused") throw new Refusal(answer.status, answer.detail, answer.headers);
    void audit.record({ actor: answer.name, action: "login" });
    c.header("Set-Cookie", answer.setCookie);
    return c.redirect("/rescue", 303);
  });

  routes.get("/", (c) => {
    const visitor = whoLooks(c);
    if (visitor === null) return signIn(c);
    const { targets, notices } = facts();
    const machines = targets.map((target) => ({ target, last: power.last(target.name) }));
    return c.html(machinesPage({ machines, notices, visitor, now: now() }));
  });

  routes.get("/confirm/:target/:verb", (c) => {
    const visitor = whoLooks(c);
    if (visitor === null) return signIn(c);
    if (visitor.form === null) throw mayOnlyLook(visitor.name);
    const target = find(c.req.param("target"));
    const verb = parseVerb(c.req.param("verb"));
    if (verb === undefined || !verbs[verb].mutating)
      throw new Refusal(404, "There is nothing to confirm at this address. Nothing was sent.");
    const last = power.last(target.name);
    const { form } = visitor;
    return c.html(confirmPage({ target, verb, last, key: newKey(), form, now: now() }));
  });

  routes.post("/operate/:target", async (c) => {
    const { verb, key, after, form } = await formBody(c, rescueOperationBody, formBytesMax);
    const actor = auth.admit(authRequest(c.env.incoming), form);
    if (actor.kind === "refused") throw new Refusal(actor.status, actor.detail, actor.headers);
    const target = c.req.param("target");
    // What changes nothing may be asked again; for the rest the page brings the key, so that a double tap acts once.
    if (key === undefined && verbs[verb].mutating)
      throw new Refusal(422, `The form had no key. Nothing was sent; choose ${verb} again.`);
    const answer = await power.submit({ target, verb, key: key ?? newKey(), by: actor.name, after });
    void audit.record({ actor: actor.name, action: `POST /rescue ${verb}`, target, outcome: answer.kind });
    if (answer.kind !== "accepted") throw notAccepted(answer, target);
    return c.redirect(`/rescue/operation/${answer.operation.id}`, 303);
  });

  routes.get("/operation/:id", async (c) => {
    const visitor = whoLooks(c);
    if (visitor === null) return signIn(c);
    const operation = await findOperation({ power, clock }, c.req.param("id"));
    return c.html(operationPage({ operation, now: now() }));
  });

  routes.onError((error, c) => {
    const refusal = refusalOf(error);
    if (refusal.status === 500) report(error);
    for (const [name, value] of Object.entries(refusal.headers)) c.header(name, value);
    const wasNotDone = refusal.status === 500 ? "Not known whether that was done" : "That was not done";
    const title = c.req.method === "GET" ? "This cannot be shown" : wasNotDone;
    return c.html(refusalPage(title, refusal.message), refusal.status);
  });

  /** Who asks for a page, and with which form token where they may act; null: nobody is signed in. */
  function whoLooks(c: Context<Env>): Visitor | null {
    const identity = auth.identify(authRequest(c.env.incoming));
    if (identity.kind === "none") return null;
    if (identity.kind === "refused") throw new Refusal(identity.status, identity.detail, identity.headers);
    return { name: identity.name, form: identity.scope === "operate" ? auth.formToken(identity) : null };
  }

  function signIn(c: Context<Env>) {
    const site = c.req.header("Sec-Fetch-Site");
    // What came from our own page had the cookie with it, if there is one.
    return c.html(signInPage({ continueAt: site === "same-origin" ? null : c.req.path }));
  }

  function find(name: string): TargetStatus {
    const target = facts().targets.find((each) => each.name === name);
    if (target === undefined) throw notAccepted({ kind: "unknown_target" }, name);
    if (!target.power) throw notAccepted({ kind: "no_power" }, name);
    return target;
  }

  return routes;
}

function mayOnlyLook(name: string): Refusal {
  return new Refusal(403, `${name} may only look; nothing was sent. Sign in with a token that may operate.`);
}
