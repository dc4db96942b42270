import { Hono } from "hono";
import type { ConsoleFacts } from "../../../protocol/api.ts";
import type { TargetStatus } from "../../../protocol/targets.ts";
import type { Env } from "../env.ts";
import { consoleFor } from "../for-scope.ts";
import { Refusal } from "../refusal.ts";

export interface ConsoleRoutesDeps {
  /** What is true now; `actor` is added here. */
  readonly facts: () => Omit<ConsoleFacts, "actor">;
  readonly targets: () => readonly TargetStatus[];
  /** Buttons of Notices, by the last word of their path: only the demo has any. Reject with a sentence. */
  readonly actions: ReadonlyMap<string, () => Promise<void>>;
}

export function consoleRoutes({ facts, targets, actions }: ConsoleRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.get("/console", (c) => {
    const { now, ...others } = facts();
    const { actor, scope } = c.var;
    return c.json<ConsoleFacts>({ ...others, now: consoleFor(scope, now), actor });
  });
  routes.get("/targets", (c) => c.json<readonly TargetStatus[]>(targets()));

  routes.post("/demo/:action", async (c) => {
    const action = actions.get(c.req.param("action"));
    if (action === undefined)
      throw new Refusal(404, "There is no such button here; the demo may not be running.");
    await action().catch((error: Error) => {
      throw new Refusal(409, error.message);
    });
    return c.body(null, 204);
  });

  return routes;
}
