/** What one probe of the Forensics brought, as the hypervisor's side told it. */
export interface ProbeAnswer {
  /** "qm-config", "qmp-blockstats-1", "host", ... */
  readonly probe: string;
  /** "hung": it did not answer in time and was left. */
  readonly end: "answered" | "hung" | "failed";
  /** Its first bytes; the whole is on the hypervisor. */
  readonly output: string;
  /** How long the whole is, where `output` was cut. */
  readonly bytes?: number;
}

/** The evidence that was gathered before a mutating Verb, or by `forensics`, as it is kept with the Operation. */
export interface Forensics {
  /** Under this name the hypervisor keeps the whole; null: it said none. */
  readonly id: string | null;
  /** "io-stall-suspected", "idle: ...", ...; null: it came to none. */
  readonly verdict: string | null;
  readonly probes: readonly ProbeAnswer[];
  /** Whether GET /api/operations/{id}/screen answers the picture of the machine's screen. */
  readonly screen: boolean;
}
