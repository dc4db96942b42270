import { Hono } from "hono";
import { isUuid } from "../../../protocol/ids.ts";
import { readKept } from "../../broker/kept.ts";
import type { Store } from "../../store/store.ts";
import type { Env } from "../env.ts";
import { Refusal } from "../refusal.ts";

export interface ExecRoutesDeps {
  readonly store: Store;
}

/** The whole kept output of a brokered command, as the text that it is: nothing in it is ever taken for a page. */
export function execRoutes({ store }: ExecRoutesDeps): Hono<Env> {
  const routes = new Hono<Env>();

  routes.get("/session/:id/exec/:n", async (c) => {
    const id = c.req.param("id");
    const n = c.req.param("n");
    const kept = isUuid(id) && /^\d{1,9}$/.test(n) ? await readKept(store, id, Number(n)) : null;
    if (kept === null) {
      throw new Refusal(
        404,
        "Nothing more was kept of this command: what there is stands in the session's record.",
      );
    }
    return c.body(bytesOf(kept), 200, {
      "Content-Type": "text/plain; charset=utf-8",
      "X-Content-Type-Options": "nosniff",
    });
  });

  return routes;
}

/** Read as the client takes it. */
function bytesOf(texts: AsyncIterable<string>): ReadableStream<Uint8Array> {
  const iterator = texts[Symbol.asyncIterator]();
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(encoder.encode(next.value));
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}
