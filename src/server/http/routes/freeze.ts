import { Hono } from "hono";
import type { FreezeAnswer } from "../../../protocol/api.ts";
import type { Freeze } from "../../broker/freeze.ts";
import { jsonBody } from "../body.ts";
import type { Env } from "../env.ts";
import { freezeBody } from "../requests.ts";

export interface FreezeRoutesDeps {
  readonly freeze: Pick<Freeze, "now" | "set">;
}

export function freezeRoutes({ freeze }: FreezeRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.post("/freeze", async (c) => {
    const { frozen } = await jsonBody(c, freezeBody);
    c.set("audited", { frozen });
    const { durable } = await freeze.set(frozen, c.var.actor);
    return c.json<FreezeAnswer>({ frozen: freeze.now(), durable });
  });

  return routes;
}
