import { Hono } from "hono";
import type { SessionSummary } from "../../../protocol/api.ts";
import { isUuid, type SessionId } from "../../../protocol/ids.ts";
import { reportMarkdown } from "../../../protocol/report/markdown.ts";
import type { Report } from "../../../protocol/report/report.ts";
import { reportOf, type ReportDeps } from "../../sessions/report.ts";
import { sessionStream } from "../../sessions/session.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";

export interface ReportRoutesDeps extends ReportDeps {
  /** undefined: the list of Sessions does not know it. */
  readonly summary: (id: SessionId) => SessionSummary | undefined;
}

/** GET /session/{id}/report: Markdown, or JSON with `?format=json` or where only that is accepted. */
export function reportRoutes(deps: ReportRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/session/:id/report", async (c) => {
    const id = c.req.param("id");
    const summary = isUuid(id) ? deps.summary(id) : undefined;
    if (!isUuid(id) || (summary === undefined && (await deps.store.head(sessionStream(id))) < 0))
      throw new Refusal(404, "There is no such session here. The list of sessions shows what there is.");
    const report = await reportOf(deps, id, summary);
    if (wantsJson(c.req.query("format"), c.req.header("accept"))) return c.json<Report>(report);
    return c.body(reportMarkdown(report), 200, {
      "Content-Type": "text/markdown; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
      "Content-Disposition": `inline; filename="incident-${id}.md"`,
    });
  });
  return routes;
}

/** What is named in the address wins: a browser's own Accept says nothing about what its reader wants. */
function wantsJson(format: string | undefined, accept: string | undefined): boolean {
  if (format === "json" || format === "markdown") return format === "json";
  if (format !== undefined)
    throw new Refusal(422, 'format: must be "markdown" or "json". Nothing else can be had.');
  return accept !== undefined && accept.includes("application/json") && !accept.includes("text/");
}
