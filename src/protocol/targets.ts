/** What a Target looks like from here. "unknown" is never shown as up. */
export type TargetState = "up" | "degraded" | "unreachable" | "stopped" | "stalled" | "unknown";

/** One thing that was asked and what came back, so that a person can judge for themselves. */
export interface Evidence {
  /** What was asked: "ssh banner", "hypervisor status", ... */
  readonly probe: string;
  readonly ok: boolean;
  /** What was seen, in one line. */
  readonly seen: string;
  readonly at: string;
}

export interface TargetStatus {
  readonly name: string;
  readonly is_default: boolean;
  readonly state: TargetState;
  /** ISO 8601: since when the state has been what it is. */
  readonly since: string;
  readonly evidence: readonly Evidence[];
  /** Whether the power side is configured. */
  readonly power: boolean;
  /** Absent: none. Nothing goes to such a side until an Operator accepts what it shows. */
  readonly refused_host_keys?: readonly RefusedHostKey[];
  /** The mutating Operation under way, and the last one that settled. */
  readonly current: OperationBrief | null;
  readonly last: OperationBrief | null;
}

/** Which of a Target's two machines. */
export type Side = "guest" | "hypervisor";

/** "devvm", or "the hypervisor of devvm". */
export function machineOf(target: string, side: Side): string {
  return side === "guest" ? target : `the hypervisor of ${target}`;
}

/** Fingerprints, `SHA256:…`. */
export interface RefusedHostKey {
  readonly side: Side;
  /** null: the machine was never seen. */
  readonly known: string | null;
  readonly shown: string;
}

export interface OperationBrief {
  readonly id: string;
  readonly verb: string;
  readonly by: string;
  readonly at: string;
  readonly outcome?: string;
}
