import type { Problem } from "./config.ts";

/** Gathers what is wrong, so that all of it is told at once. */
export interface Findings {
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

/** The server does not start: listening, credentials and Targets must be what was meant. */
export function stop(findings: Findings, option: string, value: string, mend: string): void {
  findings.problems.push({ option, value, mend, stops: true });
}

/** The option's own part is off, or has its default: `mend` says which. */
export function complain(findings: Findings, option: string, value: string, mend: string): void {
  findings.problems.push({ option, value, mend, stops: false });
}

export function warn(findings: Findings, option: string, value: string, mend: string): void {
  findings.warnings.push({ option, value, mend, stops: false });
}

/** Longer values are cut: enough to recognise what was typed. */
const shownCharactersMax = 120;

/** A value as it may be shown: quoted, without control characters, without the password of a URL. */
export function shown(value: string): string {
  const masked = value.slice(0, shownCharactersMax * 2).replace(/\/\/[^/\s]*@/g, "//…@");
  const cut = masked.length > shownCharactersMax ? `${masked.slice(0, shownCharactersMax)}…` : masked;
  return JSON.stringify(cut).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "�");
}

export const notSet = "not set";
export const notShown = "set (a secret, not shown)";
