import type { Outcome } from "./outcome.ts";
import type { OperationBrief, TargetState } from "./targets.ts";
import type { Verb } from "./verbs.ts";

/** How good or bad a thing is; each has a colour and a shape. */
export type Tone = "good" | "warning" | "danger" | "quiet";

export const stateWords: Readonly<Record<TargetState, { readonly word: string; readonly tone: Tone }>> = {
  up: { word: "Up", tone: "good" },
  degraded: { word: "Degraded", tone: "warning" },
  unreachable: { word: "Unreachable", tone: "danger" },
  stopped: { word: "Off", tone: "danger" },
  stalled: { word: "Stalled?", tone: "danger" },
  unknown: { word: "Not known", tone: "quiet" },
};

const pastOf: Readonly<Record<Verb, string>> = {
  status: "asked for status",
  forensics: "evidence gathered",
  reset: "reset",
  stop: "stopped",
  start: "started",
  cycle: "cycled",
};

export interface OutcomeWords {
  readonly tone: Tone;
  readonly headline: string;
  readonly detail: string;
}

/** What is known afterwards, in words; "unknown" never reads like success. */
export function outcomeWords(verb: Verb, outcome: Outcome): OutcomeWords {
  switch (outcome.kind) {
    case "done":
      return doneWords(verb, outcome);
    case "refused":
      return { tone: "warning", headline: "Refused. Nothing was done.", detail: outcome.reason };
    case "busy":
      return {
        tone: "warning",
        headline: "Busy. Nothing was done.",
        detail: `Another job holds the machine: ${outcome.holder}. Wait for its end, or ask for status.`,
      };
    case "failed":
      if (outcome.code === 6)
        return { tone: "danger", headline: "The machine is OFF", detail: offDetail(outcome.reason) };
      return { tone: "danger", headline: `The ${verb} failed.`, detail: outcome.reason };
    case "unknown":
      // A reset that was accepted leaves the same process, and with it what had wedged it.
      if (verb === "reset")
        return { tone: "warning", headline: "Not known to be a cure.", detail: outcome.reason };
      return {
        tone: "warning",
        headline: `Not known: the ${verb} may have been carried out.`,
        detail: outcome.reason,
      };
  }
}

/** The reason repeats the headline, since it must also be plain where there is none. */
function offDetail(reason: string): string {
  const rest = reason.replace(/^The machine is OFF:\s*/, "");
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

function doneWords(verb: Verb, outcome: Outcome & { kind: "done" }): OutcomeWords {
  const { state, changed } = outcome;
  if (verb === "status") return { tone: "quiet", headline: `The hypervisor says "${state}".`, detail: "" };
  if (verb === "forensics")
    return { tone: "good", headline: "Evidence gathered.", detail: "Nothing was changed." };
  if (verb === "reset")
    return {
      tone: "good",
      headline: "The machine has come back.",
      detail: "It was seen to boot after the reset.",
    };
  const now = state === "stopped" ? "The machine is off, as asked." : `The machine is ${state}.`;
  return {
    tone: "good",
    headline: now,
    detail: changed
      ? state === "running"
        ? "It is up when it answers."
        : ""
      : "It was so already: nothing was changed.",
  };
}

/** What the hypervisor's side concluded from its evidence, for a person; its own words where they are new to us. */
export function verdictWords(verdict: string): { readonly tone: Tone; readonly text: string } {
  switch (verdict) {
    case "io-stall-suspected":
      return {
        tone: "danger",
        text: "Its disk I/O seems to have stalled inside QEMU. A reset keeps that; a cycle cures it.",
      };
    case "qmp-silent":
      return { tone: "danger", text: "QEMU itself did not answer." };
    case "disk-io-moves":
      return { tone: "good", text: "Its disks were at work." };
    case "off":
      return { tone: "quiet", text: "It was off." };
    default:
      return { tone: "quiet", text: verdict };
  }
}

/** "cycled 40 s ago by ana"; an Operation that did not end well, or is not known to have ended, says so. */
export function briefWords(brief: OperationBrief, now: number): string {
  const past = Object.hasOwn(pastOf, brief.verb) ? pastOf[brief.verb as Verb] : brief.verb;
  const ended = brief.outcome === "done" ? "" : ` (${brief.outcome ?? "not known yet"})`;
  return `${past}${ended} ${ago(brief.at, now)} by ${brief.by}`;
}

export function ago(at: string, now: number): string {
  return `${span(now - Date.parse(at))} ago`;
}

/** The one or two largest units: "8 s", "4 min", "2 h 5 min", "3 d". */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** The output as a person reads it: without the lines that the hypervisor writes for machines. */
export function humanLines(output: string): string {
  return output
    .split("\n")
    .filter((line) => !line.startsWith(machineLine))
    .join("\n");
}

/** How the hypervisor's lines for machines begin. */
const machineLine = "BG1 ";
