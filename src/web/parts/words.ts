import type { Outcome } from "../../protocol/outcome.ts";
import type { OperationBrief, TargetState } from "../../protocol/targets.ts";
import type { Verb } from "../../protocol/verbs.ts";

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
        detail: `Another operation holds the machine: ${outcome.holder}.`,
      };
    case "failed":
      if (outcome.code === 6)
        return { tone: "danger", headline: "The machine is OFF", detail: offDetail(outcome.reason) };
      return { tone: "danger", headline: `The ${verb} failed.`, detail: outcome.reason };
    case "unknown":
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
  // A reset that was accepted leaves the same process, and with it what had wedged it.
  if (verb === "reset")
    return {
      tone: "warning",
      headline: "Reset accepted. Not yet known to be a cure.",
      detail:
        "The same QEMU process goes on. It is cured only when the machine answers again; if it does not, cycle.",
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

/** "cycled 40 s ago by ana"; an Operation that did not end well says so. */
export function briefWords(brief: OperationBrief, now: number): string {
  const past = Object.hasOwn(pastOf, brief.verb) ? pastOf[brief.verb as Verb] : brief.verb;
  const ended = brief.outcome === undefined || brief.outcome === "done" ? "" : ` (${brief.outcome})`;
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

/** "0:42", "12:03", "1:02:03": for what is running. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 / 1024).toFixed(1)} MiB`;
}

const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayTime = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

/** In the viewer's zone: the time, with the day where it is not today. */
export function when(at: string, now = Date.now()): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  return date.toDateString() === new Date(now).toDateString() ? clockTime.format(date) : dayTime.format(date);
}
