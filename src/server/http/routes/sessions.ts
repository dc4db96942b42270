import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { Hono, type Context } from "hono";
import type {
  CancelAnswer,
  EventsPage,
  Mode,
  PromptStarted,
  SessionCreated,
  SessionSummary,
} from "../../../protocol/api.ts";
import type { ModeAnswer, StartAnswer } from "../../sessions/answers.ts";
import { sessionStream, type Session } from "../../sessions/session.ts";
import type { Sessions } from "../../sessions/sessions.ts";
import type { Store } from "../../store/store.ts";
import { jsonBody, query } from "../body.ts";
import type { Env } from "../env.ts";
import { findSession } from "../find-session.ts";
import { Refusal } from "../refusal.ts";
import { pageQuery, promptBody, runbookBody, sessionChangeBody } from "../requests.ts";
import { streamsMax, type Streams } from "../stream.ts";

export interface SessionRoutesDeps {
  readonly sessions: Sessions;
  readonly streams: Streams;
  readonly store: Store;
}

export function sessionRoutes({ sessions, streams, store }: SessionRoutesDeps): Hono<Env> {
  const find = (c: Context<Env>) => findSession(sessions, c);
  const detail = ({ id, mode }: Session) => ({
    ...(sessions.summary(id) ?? { session_id: id }),
    mode: mode.now(),
  });

  const routes = new Hono<Env>();

  routes.post("/session", async (c) => {
    return c.json<SessionCreated>({ session_id: await sessions.create(c.var.actor) });
  });

  routes.get("/sessions", async (c) => c.json<readonly SessionSummary[]>(sessions.list()));

  routes.get("/session/:id", async (c) => {
    return c.json(detail(await find(c)));
  });

  routes.patch("/session/:id", async (c) => {
    const session = await find(c);
    const { name, archived, mode } = await jsonBody(c, sessionChangeBody);
    if (mode !== undefined) {
      c.set("audited", { mode });
      const answer = await session.setMode(mode, c.var.actor);
      if (answer.kind !== "set") throw modeRefusal(mode, answer);
    }
    await sessions.change(
      session.id,
      { ...(name !== undefined && { name }), ...(archived !== undefined && { archived }) },
      c.var.actor,
    );
    return c.json(detail(session));
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
    if (answer.kind !== "started") throw startRefusal(answer);
    return c.json<PromptStarted>({ status: "started" });
  });

  routes.post("/session/:id/runbook", async (c) => {
    const session = await find(c);
    const { name, target, key } = await jsonBody(c, runbookBody);
    c.set("audited", { name, target });
    const answer = await sessions.runbook(session, {
      name,
      target: target ?? undefined,
      key: key ?? undefined,
      by: c.var.actor,
    });
    switch (answer.kind) {
      case "started":
        return c.json<PromptStarted>({ status: "started" });
      case "no_runbook":
        throw new Refusal(404, `There is no such runbook here. There are: ${listed(answer.there)}.`);
      case "no_target":
        throw new Refusal(404, `There is no such target here. There are: ${listed(answer.there)}.`);
      default:
        throw startRefusal(answer);
    }
  });

  routes.post("/session/:id/cancel", async (c) => {
    const session = await find(c);
    return c.json<CancelAnswer>({ cancelled: await session.cancel(c.var.actor) });
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
        scope: c.var.scope,
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

function startRefusal(answer: Exclude<StartAnswer, { kind: "started" }>): Refusal {
  switch (answer.kind) {
    case "running":
      return new Refusal(
        409,
        "A turn is running in this session. Wait for its end, or stop it, then send again.",
      );
    case "frozen":
      return new Refusal(
        409,
        `${answer.by} froze all agents at ${answer.at}, so nothing was started. Verbs still work. Lift the freeze, then send again.`,
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
      return new Refusal(
        507,
        `What you sent could not be recorded, so no turn was started. ${answer.reason}`,
      );
    case "closing":
      return new Refusal(503, "The server is stopping and takes no new turns. Send again when it is back.");
  }
}

function modeRefusal(mode: Mode, answer: Exclude<ModeAnswer, { kind: "set" }>): Refusal {
  if (answer.kind === "overtaken")
    return new Refusal(
      409,
      `Another change of the mode came in behind yours, so ${mode} does not hold: ${answer.mode.mode} does. Look who changed it, then change it again if you still want to.`,
    );
  const now = answer.holds
    ? `${mode} holds all the same, until the server restarts: then the mode before it does.`
    : "The mode is what it was.";
  return new Refusal(507, `The change of the mode could not be recorded. ${now} ${answer.reason}`);
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.join(", ");
}
