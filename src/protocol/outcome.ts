import { verbs, type Verb } from "./verbs.ts";

/** What the hypervisor's side answered to one Verb. */
export interface HostReport {
  /** null: no exit code is known (a signal, a deadline, a lost transport). Never read it as success. */
  readonly exit_code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** false: for certain nothing reached the hypervisor, and `stderr` says why. */
  readonly sent?: boolean;
}

/** "unknown" is an answer: the Verb may have been carried out. */
export type Outcome =
  | { readonly kind: "done"; readonly changed: boolean; readonly state: string }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "busy"; readonly holder: string }
  | { readonly kind: "failed"; readonly code: number; readonly reason: string }
  | { readonly kind: "unknown"; readonly reason: string };

/** The last machine line of a report (`BG1 {...}` with `result`): what the host observed. */
export interface HostResult {
  readonly result: string;
  readonly code?: number;
  readonly state_before?: string;
  readonly state_after?: string;
  /** The machine's process. */
  readonly pid_after?: number | null;
  readonly changed?: boolean;
  /** The Job that owns the machine, where it is busy. */
  readonly holder?: string;
  readonly forensics_id?: string | null;
  readonly verdict?: string | null;
  /** The closing sentence, for a person. */
  readonly text?: string;
  /** Of "absent": for so long the host would know of a Job that had arrived. */
  readonly journal_seconds?: number;
}

/** Exit codes as in host/breakglass-host: 0 done; 2, 3, 9 refused; 75 busy; 4, 6, 7 failed; the rest is unknown. */
export function outcomeOf(verb: Verb, report: HostReport): Outcome {
  const observed = hostResult(report.stdout);
  const said = observed?.text || lastWords(report);
  if (report.sent === false) return { kind: "refused", reason: report.stderr.trim() };
  switch (report.exit_code) {
    case 0:
      return doneIfObserved(verb, observed);
    case 2:
    case 3:
    case 9:
      return { kind: "refused", reason: said };
    case 75:
      return { kind: "busy", holder: observed?.holder ?? "another job on the hypervisor" };
    case 6:
      return {
        kind: "failed",
        code: 6,
        reason: `The machine is OFF: it was stopped and did not start. ${said}`,
      };
    case 4:
    case 7:
      return { kind: "failed", code: report.exit_code, reason: said };
    default:
      // ssh itself answers 255, and so may the remote command: 255 alone never proves that the host was not reached.
      return { kind: "unknown", reason: said };
  }
}

/** Success of a mutating Verb is the state that the host saw, never its exit code alone. */
function doneIfObserved(verb: Verb, observed: HostResult | undefined): Outcome {
  const goal: string | null = verbs[verb].goal;
  const state = observed?.state_after;
  if (goal === null) return { kind: "done", changed: false, state: state ?? "reported" };
  if (state === goal) return { kind: "done", changed: observed?.changed ?? true, state };
  return {
    kind: "unknown",
    reason:
      state === undefined
        ? "The hypervisor answered 0 without saying what it saw. Ask for status before you act again."
        : `The hypervisor answered 0 but saw the machine "${state}", not "${goal}". Ask for status before you act again.`,
  };
}

export function hostResult(stdout: string): HostResult | undefined {
  for (const line of stdout.split("\n").reverse()) {
    if (!line.startsWith("BG1 ")) continue;
    try {
      const value: unknown = JSON.parse(line.slice(4));
      if (typeof value === "object" && value !== null && "result" in value) return value as HostResult;
    } catch {
      // A torn machine line proves nothing; an earlier whole one is not the last word either.
      return undefined;
    }
  }
  return undefined;
}

function lastWords({ stdout, stderr, exit_code }: HostReport): string {
  const human = (text: string) =>
    text
      .split("\n")
      .filter((line) => line.trim() !== "" && !line.startsWith("BG1 "))
      .at(-1);
  const ended =
    exit_code === null ? "It ended without an exit code." : `It ended with exit code ${exit_code}.`;
  return human(stderr) ?? human(stdout) ?? `The hypervisor said nothing. ${ended}`;
}
