import type { OperationId } from "../../protocol/ids.ts";
import type { HostReport } from "../../protocol/outcome.ts";
import type { Verb } from "../../protocol/verbs.ts";
import type { Evidence } from "./steps.ts";

/** Where Verbs run. One per Target with a power side. Never throws for what may happen: that is in the report. */
export interface Hypervisor {
  /**
   * Sends one Verb and follows it to its end, whatever that is, through lost lines too. `job` is the Operation's id:
   * sent again it is the same Job. `exit_code` is null when no exit code is known.
   */
  run(verb: Verb, job: OperationId, hear: Hear): Promise<HostReport>;
  /**
   * What became of a mutating Verb that was sent before this process began, followed to its end. Sends nothing that
   * acts. `askedAt`: when it was first sent, or earlier.
   */
  attach(job: OperationId, askedAt: Date, hear: Hear): Promise<HostReport>;
}

/** Told of what comes, as it comes. */
export interface Hear {
  output(text: string): void;
  evidence(evidence: Evidence): void;
}
