import type { RunbookBrief } from "../../protocol/api.ts";
import type { RunbookSettled } from "../../protocol/events.ts";
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

/** The Runbooks that there are. */
export interface Runbooks {
  list(): readonly RunbookBrief[];
  /** null: there is none of this name. */
  run(
    name: string,
    how: {
      readonly target: string;
      readonly ask: (asked: Omit<FixedAsk, "by" | "signal">) => Promise<FixedAnswer>;
      readonly signal: AbortSignal;
    },
  ): Promise<Omit<RunbookSettled, "kind" | "phase"> | null>;
}
