import { Hono } from "hono";
import type { Operation, VerbAnswer, VerbsAnswer } from "../../../protocol/api.ts";
import { isUuid, type OperationId } from "../../../protocol/ids.ts";
import { mutatingVerbs, parseVerb, verbNames } from "../../../protocol/verbs.ts";
import type { Power, Submitted } from "../../power/power.ts";
import { within, type Clock } from "../../clock.ts";
import { jsonBody, query } from "../body.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";
import { operationBody, operationQuery } from "../requests.ts";

export interface PowerRoutesDeps {
  readonly power: Power;
  readonly clock: Clock;
  readonly defaultTarget: string;
}

export function powerRoutes({ power, clock, defaultTarget }: PowerRoutesDeps): Hono<Env> {
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
    if (answer.kind !== "accepted") throw notAccepted(answer, target);
    return c.json<Operation>(answer.operation, 202);
  });

  routes.get("/targets/:target/operations", (c) => c.json(power.history(c.req.param("target"))));

  routes.get("/operations/:id", async (c) => {
    const { after, wait } = query(c, operationQuery);
    const id = c.req.param("id");
    const news = wait > 0 && isUuid(id) ? newsOf(power, id, after) : null;
    try {
      let operation = await findOperation({ power, clock }, id);
      if (news !== null && operation.outcome === undefined && operation.output.length <= after) {
        await within(clock, wait * 1000, Promise.race([news.promise, gone(c.env.outgoing)]));
        operation = await findOperation({ power, clock }, id);
      }
      const { forensics, ...rest } = operation;
      // Who follows it gets the evidence once, at its end: it is larger than all the rest.
      const isFollowed = news !== null && operation.outcome === undefined;
      return c.json<Operation>({
        ...rest,
        output: operation.output.slice(after),
        ...(forensics && !isFollowed && { forensics }),
      });
    } finally {
      news?.stop();
    }
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

/** Throws a Refusal when there is none by this id, or when the record does not say in time. */
export async function findOperation(
  { power, clock }: Pick<PowerRoutesDeps, "power" | "clock">,
  id: string,
): Promise<Operation> {
  const found = isUuid(id) ? await within(clock, recordMs, power.get(id).then(given)) : given(undefined);
  if (found === null)
    throw new Refusal(
      503,
      `The record did not answer within ${recordMs / 1000} s: its disk hangs. Verbs work; look at the state, and ask for this again later.`,
    );
  if (found.operation === undefined)
    throw new Refusal(404, "There is no such operation here. It was never asked for, or its record is gone.");
  return found.operation;
}

/** What keeps a Verb from being an Operation: nothing was sent, and the sentence names the next step. */
export function notAccepted(answer: Exclude<Submitted, { kind: "accepted" }>, target: string): Refusal {
  switch (answer.kind) {
    case "busy":
      return new Refusal(
        409,
        `${answer.holder.verb} by ${answer.holder.by} is under way on ${target} since ${answer.holder.requested_at} (operation ${answer.holder.id}). Nothing was sent; wait for its end.`,
      );
    case "stale":
      return new Refusal(
        409,
        `Since you looked, ${answer.latest.by} asked for ${answer.latest.verb} on ${target}. Nothing was sent; look at the state and decide again.`,
      );
    case "mismatch":
      return new Refusal(
        422,
        "This key was already used for another verb or target. Nothing was sent; use a new key.",
      );
    case "unknown_target":
      return new Refusal(
        404,
        `There is no target "${target.slice(0, 80)}" here, so nothing was sent. /rescue and GET /api/targets list those there are.`,
      );
    case "no_power":
      return new Refusal(
        422,
        `No hypervisor is configured for ${target}, so nothing was sent. Set BREAKGLASS_PVE_HOST, or \`power\` of this target in the file, and restart the server.`,
      );
  }
}

/** An Operation that is only on disk is read so long. */
const recordMs = 3_000;

const given = (operation: Operation | undefined) => ({ operation });

/** Listens from now on, so that nothing is missed between a look and the wait. */
function newsOf(power: Power, id: OperationId, after: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = power.watch(({ operation, output }) => {
    if (operation.id !== id) return;
    if (output === undefined ? operation.outcome !== undefined : output.from + output.text.length > after)
      resolve();
  });
  return { promise, stop };
}

/** The client hung up. */
function gone(response: Env["Bindings"]["outgoing"]): Promise<void> {
  return new Promise((resolve) => response.once("close", resolve));
}
