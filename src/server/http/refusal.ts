import type { ContentfulStatusCode } from "hono/utils/http-status";
import { StoreError } from "../store/store.ts";

/** An answer that is not the asked-for one: thrown by a route, turned into `{detail}` at the edge. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: ContentfulStatusCode;
  readonly headers: Readonly<Record<string, string>>;
  /** `detail` names what happened, what is still true, and the next step. */
  constructor(status: ContentfulStatusCode, detail: string, headers: Readonly<Record<string, string>> = {}) {
    super(detail);
    this.status = status;
    this.headers = headers;
  }
}

/** What the edge answers to whatever a route threw. */
export function refusalOf(error: Error): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof StoreError) return new Refusal(error.kind === "closed" ? 503 : 507, error.message);
  return new Refusal(
    500,
    "The server failed at this, and it is our fault. What was recorded stands; the log says more.",
  );
}
