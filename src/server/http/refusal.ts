import type { ContentfulStatusCode } from "hono/utils/http-status";

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
