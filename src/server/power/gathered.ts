import type { Forensics, ProbeAnswer } from "../../protocol/forensics.ts";
import type { Evidence } from "./steps.ts";

/** The evidence of one Operation as it comes; a probe that is told again replaces what it said before. */
export class Gathered {
  /** PNG. */
  screen: Buffer | null = null;
  id: string | null = null;
  verdict: string | null = null;
  readonly #probes = new Map<string, ProbeAnswer>();

  add(evidence: Evidence): void {
    if ("png" in evidence) this.screen = Buffer.from(evidence.png, "base64");
    else this.#probes.set(evidence.probe, evidence);
  }

  get forensics(): Forensics | undefined {
    const { id, verdict, screen } = this;
    if (this.#probes.size === 0 && id === null && screen === null) return undefined;
    return { id, verdict, probes: [...this.#probes.values()], screen: screen !== null };
  }
}
