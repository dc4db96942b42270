import type { HttpBindings } from "@hono/node-server";

/** What every route finds: Node's own request and response, and who asks. */
export interface Env {
  readonly Bindings: HttpBindings;
  readonly Variables: {
    /** The name of whoever was admitted. */
    readonly actor: string;
  };
}
