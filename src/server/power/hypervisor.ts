import type { OperationId } from "../../protocol/ids.ts";
import type { HostReport } from "../../protocol/outcome.ts";
import type { Verb } from "../../protocol/verbs.ts";

/** Where Verbs run. One per Target with a power side. Never throws for what may happen: that is in the report. */
export interface Hypervisor {
  /**
   * Sends one Verb and waits for its end, whatever that is. `job` is the Operation's id. Output is reported as it
   * comes; `exit_code` is null when no exit code is known.
   */
  run(
    verb: Verb,
    job: OperationId,
    onOutput: (channel: "stdout" | "stderr", text: string) => void,
  ): Promise<HostReport>;
}
