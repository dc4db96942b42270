import type { Assertion, Pattern, UnitSet } from "./pattern.ts";

/** What the groups of a match stand for; a group that had no part in it is not there. */
export type Groups = ReadonlyMap<string, string>;

/** What matching may still cost, counted in steps of the machine below: the caller looks whether it is spent. */
export interface Effort {
  left: number;
}

interface Thread {
  readonly at: number;
  /** Begin and end of each group; -1: not yet. */
  readonly saved: readonly number[];
}

/**
 * The first match in the line, or null. All ways through the pattern are walked at once, one unit of the line after the other
 * (Pike's machine: https://swtch.com/~rsc/regexp/regexp2.html), so that no line can make it slow.
 */
export function match(pattern: Pattern, line: string, effort: Effort): Groups | null {
  effort.left -= 1 + line.length / unitsAStep;
  if (!line.includes(pattern.needed)) return null;
  const { program } = pattern;
  const seen = new Int32Array(program.length).fill(-1);
  const none = pattern.groups.flatMap(() => [-1, -1]);
  let found: readonly number[] | null = null;
  let threads: Thread[] = [];

  /** Follows what needs no unit. In order of preference: what is there already was preferred. */
  const follow = (into: Thread[], at: number, saved: readonly number[], place: number): void => {
    effort.left--;
    if (seen[at] === place) return;
    seen[at] = place;
    const instruction = program[at]!;
    switch (instruction.op) {
      case "jump":
        return follow(into, instruction.to, saved, place);
      case "split":
        follow(into, instruction.first, saved, place);
        return follow(into, instruction.second, saved, place);
      case "save":
        return follow(into, at + 1, saved.with(instruction.slot, place), place);
      case "assert":
        return holds(instruction.what, line, place) ? follow(into, at + 1, saved, place) : undefined;
      case "unit":
      case "match":
        into.push({ at, saved });
    }
  };

  for (let place = 0; place <= line.length; place++) {
    // A later beginning counts less than every earlier one, and nothing once there is a match.
    if (found === null) follow(threads, 0, none, place);
    else if (threads.length === 0) break;
    const next: Thread[] = [];
    const unit = line.charCodeAt(place);
    for (const { at, saved } of threads) {
      effort.left--;
      const instruction = program[at]!;
      if (instruction.op === "match") {
        found = saved;
        break;
      }
      if (instruction.op === "unit" && place < line.length && has(instruction.set, unit))
        follow(next, at + 1, saved, place + 1);
    }
    threads = next;
  }
  return found === null ? null : named(pattern.groups, line, found);
}

/** Looking for the needed text is as cheap as that. */
const unitsAStep = 64;

function has({ negated, ranges }: UnitSet, unit: number): boolean {
  for (const [from, to] of ranges) if (unit >= from && unit <= to) return !negated;
  return negated;
}

function holds(what: Assertion, line: string, place: number): boolean {
  switch (what) {
    case "start":
      return place === 0;
    case "end":
      return place === line.length;
    case "boundary":
      return isWord(line, place - 1) !== isWord(line, place);
    case "inside":
      return isWord(line, place - 1) === isWord(line, place);
  }
}

function isWord(line: string, at: number): boolean {
  return /^\w$/.test(line.charAt(at));
}

function named(names: readonly string[], line: string, saved: readonly number[]): Groups {
  const groups = new Map<string, string>();
  names.forEach((name, slot) => {
    const [from, to] = [saved[2 * slot]!, saved[2 * slot + 1]!];
    if (from >= 0 && to >= from) groups.set(name, line.slice(from, to));
  });
  return groups;
}
