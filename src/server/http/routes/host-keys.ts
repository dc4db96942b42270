import { Hono } from "hono";
import type { HostKeyAccepted } from "../../../protocol/api.ts";
import { machineOf, type Side } from "../../../protocol/targets.ts";
import type { Audit } from "../../audit/audit.ts";
import type { AcceptedHostKey } from "../../ssh/host-keys.ts";
import { jsonBody } from "../body.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";
import { hostKeyBody } from "../requests.ts";

export interface HostKeyRoutesDeps {
  readonly audit: Audit;
  /** null: there is no such Target, or it has no such side. */
  readonly acceptHostKey: (
    target: string,
    side: Side,
    fingerprint: string,
  ) => Promise<AcceptedHostKey> | null;
}

export function hostKeyRoutes({ audit, acceptHostKey }: HostKeyRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.post("/targets/:target/host-key", async (c) => {
    const { side, fingerprint } = await jsonBody(c, hostKeyBody);
    const target = c.req.param("target");
    const machine = machineOf(target, side);
    const answer = await acceptHostKey(target, side, fingerprint);
    switch (answer?.kind) {
      case undefined:
        throw new Refusal(404, `There is no target "${target.slice(0, 80)}" here with a ${side}.`);
      case "nothing":
        throw new Refusal(
          409,
          `No host key of ${machine} waits to be accepted, so nothing was changed. Look at the state again.`,
        );
      case "silent":
        throw new Refusal(
          502,
          `The host key of ${machine} was not accepted: the machine shows none now. Nothing was changed; see whether it can be reached, and try again.`,
        );
      case "another":
        throw new Refusal(
          409,
          `The host key of ${machine} was not accepted: it now shows ${answer.shown}, and you confirmed ${fingerprint} (known: ${answer.known ?? "none"}). Nothing was changed. A key that changes while you look is a bad sign: compare again on the machine's console.`,
        );
      case "accepted":
        // Not awaited: a hung disk must not hold the answer back. A loss is reported by the audit itself.
        void audit.record({
          actor: c.var.actor,
          action: "accept host key",
          target,
          detail: { side, old: answer.known, new: fingerprint },
          outcome: answer.durable ? "done" : "done, not durable",
        });
        return c.json<HostKeyAccepted>({
          target,
          side,
          fingerprint,
          was: answer.known,
          durable: answer.durable,
        });
    }
  });

  return routes;
}
