import { Hono } from "hono";
import type { ApprovalAnswer, PendingApproval } from "../../../protocol/api.ts";
import { isUuid } from "../../../protocol/ids.ts";
import type { Approvals } from "../../broker/approvals.ts";
import type { SettledApproval } from "../../sessions/state.ts";
import type { Sessions } from "../../sessions/sessions.ts";
import { jsonBody } from "../body.ts";
import type { Env } from "../env.ts";
import { findSession } from "../find-session.ts";
import { approvalsFor } from "../for-scope.ts";
import { Refusal } from "../refusal.ts";
import { approvalBody } from "../requests.ts";

export interface ApprovalRoutesDeps {
  readonly sessions: Sessions;
  /** Those that wait, the oldest first. */
  readonly pendingApprovals: () => readonly PendingApproval[];
  readonly approvals: Pick<Approvals, "decide">;
}

export function approvalRoutes({ sessions, pendingApprovals, approvals }: ApprovalRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.get("/approvals", (c) =>
    c.json<readonly PendingApproval[]>(approvalsFor(c.var.scope, pendingApprovals())),
  );

  routes.post("/session/:id/approvals/:approval", async (c) => {
    const session = await findSession(sessions, c);
    const answer = await jsonBody(c, approvalBody);
    const approval = c.req.param("approval");
    if (!isUuid(approval)) throw noSuchRequest();
    c.set("audited", answer);
    const decided = await approvals.decide(session.id, approval, answer, c.var.actor);
    switch (decided.kind) {
      case "decided":
        return c.json<ApprovalAnswer>({ approval, decision: decided.decision });
      case "settled":
        throw settled(decided);
      case "none": {
        // The Broker remembers what it asked since its start; the log remembers the rest.
        const before = session.decided(approval);
        throw before === undefined ? noSuchRequest() : settled(before);
      }
      case "another":
        throw new Refusal(
          409,
          "This is not the request that you read: its sha256 is another. Nothing was decided; read what waits now, and decide on that.",
        );
      case "unrecorded":
        throw new Refusal(
          507,
          `Your decision could not be recorded, so nothing is run, and the request is void. ${decided.reason}`,
        );
    }
  });

  return routes;
}

function noSuchRequest(): Refusal {
  return new Refusal(
    404,
    "No such request was made in this session. Nothing was decided; GET /api/approvals lists what waits.",
  );
}

function settled({ decision, by, at }: SettledApproval): Refusal {
  const who = by === undefined ? "" : ` by ${by}`;
  switch (decision) {
    case "approved":
    case "denied":
      return new Refusal(409, `It was ${decision} already${who} at ${at}. Your answer changed nothing.`);
    case "expired":
      return new Refusal(
        409,
        `It waited too long and expired at ${at}. Nothing was run; the agent may ask again.`,
      );
    case "void":
      return new Refusal(
        409,
        `It is void since ${at}: whoever asked is gone, or what it was asked for no longer holds. Nothing was run; the agent may ask again.`,
      );
  }
}
