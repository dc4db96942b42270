import type { BrokerDoor } from "../agent/agent.ts";
import type { FixedAnswer, FixedAsk } from "../broker/fixed.ts";

/** The Session's door to the Broker, as the Broker hands it out. */
export interface SessionDoor extends BrokerDoor {
  /** From now on knocks are answered. */
  beginTurn(): void;
  /** Ends what still runs for the Turn, and settles it in the record. */
  endTurn(): Promise<void>;
  /** Another mode holds: what waits may not hold any more. */
  modeChanged(): void;
  /** A fixed question of a Runbook, whether or not knocks are answered. */
  runFixed(asked: FixedAsk): Promise<FixedAnswer>;
  close(): Promise<void>;
}
