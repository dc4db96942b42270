import type { Evidence, TargetState } from "../../protocol/targets.ts";

/** What the guest's side answered. "silent": the connection was taken and no banner came. */
export type GuestSight =
  | { readonly kind: "answers"; readonly seen: string }
  | { readonly kind: "no_round_trip"; readonly seen: string }
  | { readonly kind: "silent"; readonly seen: string }
  | { readonly kind: "unreachable"; readonly seen: string };

/** What the hypervisor said. "unreachable": it did not say anything. */
export type PowerSight =
  | { readonly kind: "running"; readonly seen: string }
  | { readonly kind: "stopped"; readonly seen: string }
  | { readonly kind: "other"; readonly seen: string }
  | { readonly kind: "unreachable"; readonly seen: string };

/** What may be judged by; null: never asked, or too long ago. */
export interface Sights {
  readonly guest: GuestSight | null;
  readonly power: PowerSight | null;
}

/** What each side showed last, however long ago. `at`: ISO 8601, when that was. */
export interface LastSights {
  readonly guest: (GuestSight & { readonly at: string }) | null;
  readonly power: (PowerSight & { readonly at: string }) | null;
}

/**
 * A guest that answers is up, whatever else is said. The hypervisor's "running" alone is never proof of life, and when
 * neither side can be asked nothing is known: it may be our own network.
 */
export function judge({ guest, power }: Sights): TargetState {
  if (guest?.kind === "answers") return "up";
  if (guest?.kind === "no_round_trip") return "degraded";
  if (power?.kind === "stopped") return "stopped";
  if (guest === null) return "unknown";
  if (power?.kind === "running" || power?.kind === "other")
    return guest.kind === "silent" ? "stalled" : "unreachable";
  if (power === null) return "unreachable";
  return "unknown";
}

export function evidenceOf({ guest, power }: LastSights): Evidence[] {
  const evidence: Evidence[] = [];
  if (guest)
    evidence.push({ probe: "guest over SSH", ok: guest.kind === "answers", seen: guest.seen, at: guest.at });
  if (power)
    evidence.push({ probe: "hypervisor", ok: power.kind === "running", seen: power.seen, at: power.at });
  return evidence;
}
