import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { Hono, type Context } from "hono";
import type {
  CancelAnswer,
  EventsPage,
  PromptStarted,
  SessionCreated,
  SessionSummary,
} from "../../../protocol/api.ts";
import { isUuid } from "../../../protocol/ids.ts";
import { sessionStream, type PromptAnswer, type Session } from "../../sessions/session.ts";
import type { Sessions } from "../../sessions/sessions.ts";
import type { Store } from "../../store/store.ts";
import { jsonBody, query } from "../body.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";
import { pageQuery, promptBody, sessionChangeBody } from "../requests.ts";
import { streamsMax, type Streams } from "../stream.ts";

export interface SessionRoutesDeps {
  readonly sessions: Sessions;
  readonly streams: Streams;
  readonly store: Store;
}

export function sessionRoutes({ sessions, streams, store }: SessionRoutesDeps): Hono<Env> {
  const find = async (c: Context<Env>): Promise<Session> => {
    const id = c.req.param("id");
    const session = isUuid(id) ? await sessions.get(id) : undefined;
    if (session === undefined) {
      throw new Refusal(
        404,
        "There is no such session here. The list of sessions shows what there is; or begin a new one.",
      );
    }
    return session;
  };

  const routes = new Hono<Env>();

  routes.post("/session", async (c) => {
    return c.json<SessionCreated>({ session_id: await sessions.create(c.var.actor) });
  });

  routes.get("/sessions", async (c) => c.json<readonly SessionSummary[]>(sessions.list()));

  routes.get("/session/:id", async (c) => {
    const { id } = await find(c);
    return c.json(sessions.summary(id) ?? { session_id: id });
  });

  routes.patch("/session/:id", async (c) => {
    const { id } = await find(c);
    const { name, archived } = await jsonBody(c, sessionChangeBody);
    await sessions.change(
      id,
      { ...(name !== undefined && { name }), ...(archived !== undefined && { archived }) },
      c.var.actor,
    );
    return c.json(sessions.summary(id) ?? { session_id: id });
  });

  routes.post("/session/:id/prompt", async (c) => {
    const session = await find(c);
    const { prompt, model, key } = await jsonBody(c, promptBody);
    const answer = await sessions.prompt(session, {
      text: prompt,
      model: model ?? undefined,
      key: key ?? undefined,
      by: c.var.actor,
    });
    if (answer.kind !== "started") throw promptRefusal(answer);
    return c.json<PromptStarted>({ status: "started" });
  });

  routes.post("/session/:id/cancel", async (c) => {
    const session = await find(c);
    return c.json<CancelAnswer>({ cancelled: await session.cancel() });
  });

  routes.get("/session/:id/events", async (c) => {
    const { id } = await find(c);
    const { before = Number.MAX_SAFE_INTEGER, limit } = query(c, pageQuery);
    const end = Math.min(before, (await store.head(sessionStream(id))) + 1);
    const first = Math.max(0, end - limit);
    const events = end > first ? await store.read(sessionStream(id), first - 1, end - first) : [];
    return c.json<EventsPage>({ events, more: first > 0 });
  });

  routes.get("/session/:id/stream", async (c) => {
    const session = await find(c);
    // Hono answers HEAD by GET's route; a stream has no length to tell.
    if (c.req.method === "HEAD")
      return c.body(null, 200, { "Content-Type": "text/event-stream; charset=utf-8" });
    const tail = c.req.query("tail");
    const attached = await streams.attach(
      session,
      {
        lastEventId: c.req.header("last-event-id") ?? c.req.query("last_event_id"),
        tail: tail !== undefined && /^\d{1,9}$/.test(tail) ? Number(tail) : undefined,
        watch: c.req.query("watch") === "1",
      },
      c.env.incoming,
      c.env.outgoing,
    );
    if (!attached) {
      throw new Refusal(
        503,
        `All ${streamsMax} places for followers are taken. Nothing is lost; attach again in a moment.`,
      );
    }
    return RESPONSE_ALREADY_SENT;
  });

  return routes;
}

function promptRefusal(answer: Exclude<PromptAnswer, { kind: "started" }>): Refusal {
  switch (answer.kind) {
    case "running":
      return new Refusal(
        409,
        "A turn is running in this session. Wait for its end, or stop it, then send again.",
      );
    case "too_many":
      return new Refusal(
        429,
        `${answer.turnsAtOnceMax} turns are running, as many as are allowed at once. Stop one, or wait for its end.`,
        { "Retry-After": "5" },
      );
    case "no_room":
      return new Refusal(
        507,
        `The disk of the record is nearly full (${Math.round(answer.freeBytes / 1024 / 1024)} MiB free), so no new turn was started. Verbs still work. Free some space on the machine that runs Breakglass.`,
      );
    case "unrecorded":
      return new Refusal(507, `The prompt could not be recorded, so no turn was started. ${answer.reason}`);
    case "closing":
      return new Refusal(503, "The server is stopping and takes no new turns. Send again when it is back.");
  }
}
