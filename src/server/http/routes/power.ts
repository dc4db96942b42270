import { Hono } from "hono";
import type { Operation, VerbAnswer, VerbsAnswer } from "../../../protocol/api.ts";
import { isUuid } from "../../../protocol/ids.ts";
import { mutatingVerbs, parseVerb, verbNames } from "../../../protocol/verbs.ts";
import type { Power } from "../../power/power.ts";
import { jsonBody } from "../body.ts";
import { Refusal } from "../refusal.ts";
import { operationBody } from "../requests.ts";
import type { Env } from "../env.ts";

export interface PowerRoutesDeps {
  readonly power: Power;
  readonly defaultTarget: string;
}

export function powerRoutes({ power, defaultTarget }: PowerRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.get("/pve/verbs", (c) => c.json<VerbsAnswer>({ verbs: verbNames, mutating: mutatingVerbs }));

  routes.post("/pve/:verb", async (c) => {
    const verb = parseVerb(c.req.param("verb"));
    if (verb === undefined) {
      throw new Refusal(
        400,
        `There is no such verb; nothing was sent. The verbs are: ${verbNames.join(", ")}.`,
      );
    }
    const answer = await power.runAndWait(defaultTarget, verb, c.var.actor);
    return c.json<VerbAnswer>(answer, answer.exit_code === 0 ? 200 : 502);
  });

  routes.post("/targets/:target/operations", async (c) => {
    const { verb, key, after } = await jsonBody(c, operationBody);
    const target = c.req.param("target");
    const answer = await power.submit({ target, verb, key, by: c.var.actor, after });
    switch (answer.kind) {
      case "accepted":
        return c.json<Operation>(answer.operation, 202);
      case "busy":
        throw new Refusal(
          409,
          `${answer.holder.verb} by ${answer.holder.by} is under way on ${target} since ${answer.holder.requested_at} (operation ${answer.holder.id}). Nothing was sent; wait for its end.`,
        );
      case "stale":
        throw new Refusal(
          409,
          `Since you looked, ${answer.latest.by} asked for ${answer.latest.verb} on ${target}. Nothing was sent; look at the state and decide again.`,
        );
      case "mismatch":
        throw new Refusal(
          422,
          "This key was already used for another verb or target. Nothing was sent; use a new key.",
        );
      case "unknown_target":
        throw new Refusal(404, `There is no target "${target.slice(0, 80)}" here.`);
      case "no_power":
        throw new Refusal(
          422,
          `No hypervisor is configured for ${target}, so nothing was sent. Set BREAKGLASS_PVE_HOST and BREAKGLASS_PVE_USER.`,
        );
    }
  });

  routes.get("/targets/:target/operations", (c) => c.json(power.history(c.req.param("target"))));

  routes.get("/operations/:id", async (c) => {
    const id = c.req.param("id");
    const operation = isUuid(id) ? await power.get(id) : undefined;
    if (operation === undefined)
      throw new Refusal(
        404,
        "There is no such operation here. It was never asked for, or its record is gone.",
      );
    return c.json<Operation>(operation);
  });

  routes.get("/operations/:id/screen", async (c) => {
    const id = c.req.param("id");
    const png = isUuid(id) ? await power.screen(id) : null;
    if (png === null)
      throw new Refusal(404, "No picture of the machine's screen was taken for this operation.");
    return c.body(new Uint8Array(png), 200, { "Content-Type": "image/png" });
  });

  return routes;
}
