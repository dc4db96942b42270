import type { HttpBindings } from "@hono/node-server";
import type { Scope } from "../config/config.ts";

/** What every route finds: Node's own request and response, and who asks. */
export interface Env {
  readonly Bindings: HttpBindings & {
    /** Only on the control socket: whoever could open it owns the data directory. This is their name in the record. */
    readonly owner?: string;
  };
  readonly Variables: {
    /** The name of whoever was admitted. */
    readonly actor: string;
    readonly scope: Scope;
    /** Of what was asked, for its audit entry. */
    audited: unknown;
  };
}
