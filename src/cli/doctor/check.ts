/** One thing that was looked at. */
export interface Check {
  readonly part: "configuration" | "server" | "machines" | "clock" | "agent" | "data" | "model";
  readonly state: "ok" | "warning" | "problem";
  readonly says: string;
  /** The next step; none where all is well. */
  readonly mend?: string;
}

export type Part = Check["part"];

export const ok = (part: Part, says: string): Check => ({ part, state: "ok", says });
export const warning = (part: Part, says: string, mend: string): Check => ({
  part,
  state: "warning",
  says,
  mend,
});
export const problem = (part: Part, says: string, mend: string): Check => ({
  part,
  state: "problem",
  says,
  mend,
});
/** A problem whose sentence names the mend already. */
export const told = (part: Part, says: string): Check => ({ part, state: "problem", says });
