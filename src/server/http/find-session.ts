import type { Context } from "hono";
import { isUuid } from "../../protocol/ids.ts";
import type { Session } from "../sessions/session.ts";
import type { Sessions } from "../sessions/sessions.ts";
import type { Env } from "./env.ts";
import { Refusal } from "./refusal.ts";

/** The Session of this route. Throws a Refusal where there is none by this id. */
export async function findSession(sessions: Sessions, c: Context<Env>): Promise<Session> {
  const id = c.req.param("id");
  const session = isUuid(id) ? await sessions.get(id) : undefined;
  if (session === undefined) {
    throw new Refusal(
      404,
      "There is no such session here. The list of sessions shows what there is; or begin a new one.",
    );
  }
  return session;
}
