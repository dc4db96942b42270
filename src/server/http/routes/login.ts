import { Hono } from "hono";
import type { Audit } from "../../audit/audit.ts";
import type { Auth } from "../../auth/auth.ts";
import { authRequest } from "../../auth/request.ts";
import { jsonBody } from "../body.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";
import { loginBody, loginBytesMax } from "../requests.ts";

/** The only routes under /api that need no identity: they make one, or end one. */
export function loginRoutes(auth: Auth, audit: Audit): Hono<Env> {
  const routes = new Hono<Env>();

  routes.post("/login", async (c) => {
    const body = await jsonBody(c, loginBody, loginBytesMax);
    const answer = auth.login(authRequest(c.env.incoming), "link" in body ? body.link : body.token);
    if (answer.kind === "refused") throw new Refusal(answer.status, answer.detail, answer.headers);
    void audit.record({ actor: answer.name, action: "login" });
    c.header("Set-Cookie", answer.setCookie);
    return c.body(null, 204);
  });

  routes.post("/logout", (c) => {
    const answer = auth.logout(authRequest(c.env.incoming));
    if (answer.kind === "refused") throw new Refusal(answer.status, answer.detail, answer.headers);
    c.header("Set-Cookie", answer.setCookie);
    return c.body(null, 204);
  });

  return routes;
}
