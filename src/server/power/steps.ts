import type { ProbeAnswer } from "../../protocol/forensics.ts";
import type { HostResult } from "../../protocol/outcome.ts";

/** One numbered thing that the hypervisor's side said: lines for people, closed by one machine line (`BG1 {json}`). */
export interface Step {
  readonly seq: number;
  /** The lines for people, each with its newline. */
  readonly text: string;
  /** The machine line, with its newline. */
  readonly line: string;
  readonly evidence?: Evidence;
  /** Of the last Step: how it ended. */
  readonly result?: HostResult;
}

/** A probe's answer, or the picture of the screen (base64 of a PNG). */
export type Evidence = ProbeAnswer | { readonly probe: "screen"; readonly png: string };

/** A longer Step is no Step of ours: it is dropped, so that a host gone mad costs no memory. */
const stepCharsMax = 1024 * 1024;

/** Cuts what comes over the line into Steps. What is not closed by its machine line has not arrived. */
export class StepReader {
  /** The Step that is expected next: what an `attach` has to ask for. */
  next = 0;
  #text = "";
  #rest = "";

  take(chunk: string): readonly Step[] {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop()!.slice(0, stepCharsMax);
    return lines.flatMap((line) => this.#line(`${line}\n`));
  }

  /** The line was lost: the rest of an open Step comes again, with the whole of it. */
  lost(): void {
    this.#rest = this.#text = "";
  }

  #line(line: string): readonly Step[] {
    if (!line.startsWith("BG1 ")) {
      this.#text = (this.#text + line).slice(0, stepCharsMax);
      return [];
    }
    const text = this.#text;
    this.#text = "";
    const said = parse(line.slice(4));
    const seq = said?.["seq"];
    if (said === null || typeof seq !== "number") return [];
    const step: Step = { seq, text, line, ...evidenceOf(said), ...resultOf(said) };
    // After an end there is nothing to ask for; and one that is not the Job's own counts from 0.
    if (step.result !== undefined) return [step];
    // What was heard before the line broke is not heard again.
    if (seq < this.next) return [];
    this.next = seq + 1;
    return [step];
  }
}

function parse(json: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function evidenceOf(said: Readonly<Record<string, unknown>>): { evidence?: Evidence } {
  const { probe, end, output, bytes, png } = said;
  if (probe === "screen" && typeof png === "string") return { evidence: { probe, png } };
  if (typeof probe !== "string" || typeof output !== "string") return {};
  if (end !== "answered" && end !== "hung" && end !== "failed") return {};
  return { evidence: { probe, end, output, ...(typeof bytes === "number" && { bytes }) } };
}

function resultOf(said: Readonly<Record<string, unknown>>): { result?: HostResult } {
  return typeof said["result"] === "string" ? { result: said as unknown as HostResult } : {};
}
