/**
 * Patterns of Runbooks: regular expressions without lookaround and backreferences, so that `match` needs a time linear in
 * the line, whatever the pattern is and whoever wrote the line. Everything else means what it means in JavaScript.
 */
export interface Pattern {
  readonly program: readonly Instruction[];
  /** Names of the groups `(?<name>…)`, in order. */
  readonly groups: readonly string[];
  /** Stands in every line that matches: what is without it need not be looked at. */
  readonly needed: string;
}

type Instruction =
  | { readonly op: "unit"; readonly set: UnitSet }
  /** Goes on at both, at `first` by preference. */
  | { readonly op: "split"; first: number; second: number }
  | { readonly op: "jump"; to: number }
  | { readonly op: "save"; readonly slot: number }
  | { readonly op: "assert"; readonly what: Assertion }
  | { readonly op: "match" };

export type Assertion = "start" | "end" | "boundary" | "inside";

/** Of UTF-16 code units. */
export interface UnitSet {
  readonly negated: boolean;
  readonly ranges: readonly (readonly [number, number])[];
}

/** A longer pattern is refused. */
const patternCharsMax = 500;
/** What a pattern comes to with its repetitions written out; one that comes to more is refused. */
const instructionsMax = 1_000;
/** Parts compiled, also those that come to no instruction; a pattern with more is refused, before it holds up the start. */
const compileStepsMax = 10_000;
/** The highest number in `{…}`. */
const repetitionsMax = 100;

export class PatternProblem extends Error {
  override readonly name = "PatternProblem";
}

/** Throws a PatternProblem that says what is wrong and where. */
export function parsePattern(text: string): Pattern {
  if (text.length > patternCharsMax)
    throw new PatternProblem(`A pattern may have ${patternCharsMax} characters, and this one has more.`);
  const parser = new Parser(text);
  const tree = parser.whole();
  const program: Instruction[] = [];
  compile(tree, program, { left: compileStepsMax });
  add(program, { op: "match" });
  return { program, groups: parser.groups, needed: neededBy(tree) };
}

/** Counted down over a whole pattern. */
interface Steps {
  left: number;
}

type Tree =
  | { readonly kind: "unit"; readonly set: UnitSet }
  | { readonly kind: "assert"; readonly what: Assertion }
  | { readonly kind: "sequence"; readonly parts: readonly Tree[] }
  | { readonly kind: "either"; readonly options: readonly Tree[] }
  | {
      readonly kind: "repeat";
      readonly part: Tree;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: "group"; readonly slot: number; readonly part: Tree };

class Parser {
  readonly groups: string[] = [];
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): Tree {
    const tree = this.#either();
    if (this.#at < this.#text.length) this.#fail("a ) has no ( before it");
    return tree;
  }

  #either(): Tree {
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    return options.length === 1 ? options[0]! : { kind: "either", options };
  }

  #sequence(): Tree {
    const parts: Tree[] = [];
    while (this.#at < this.#text.length && !"|)".includes(this.#text[this.#at]!))
      parts.push(this.#repeated());
    return { kind: "sequence", parts };
  }

  #repeated(): Tree {
    const part = this.#single();
    const times = this.#times();
    if (times === null) return part;
    if (part.kind === "assert") this.#fail("^, $ and \\b cannot be repeated");
    const lazy = this.#take("?");
    if (this.#times() !== null) this.#fail("nothing can be repeated twice in a row");
    return { kind: "repeat", part, ...times, lazy };
  }

  #times(): { min: number; max: number } | null {
    if (this.#take("*")) return { min: 0, max: Infinity };
    if (this.#take("+")) return { min: 1, max: Infinity };
    if (this.#take("?")) return { min: 0, max: 1 };
    const braces = /^\{(\d{1,4})(,(\d{1,4})?)?\}/.exec(this.#text.slice(this.#at, this.#at + 12));
    if (braces === null) return null;
    this.#at += braces[0].length;
    const min = Number(braces[1]);
    const max = braces[2] === undefined ? min : braces[3] === undefined ? Infinity : Number(braces[3]);
    if (min > repetitionsMax || (max !== Infinity && max > repetitionsMax))
      this.#fail(`{} counts to ${repetitionsMax} at most`);
    if (max < min) this.#fail("the numbers in {} are in the wrong order");
    return { min, max };
  }

  #single(): Tree {
    const character = this.#text[this.#at++]!;
    switch (character) {
      case "^":
        return { kind: "assert", what: "start" };
      case "$":
        return { kind: "assert", what: "end" };
      case ".":
        return { kind: "unit", set: { negated: true, ranges: [] } };
      case "(":
        return this.#group();
      case "[":
        return { kind: "unit", set: this.#class() };
      case "\\":
        return this.#escape();
      case "*":
      case "+":
      case "?":
      case "{":
        return this.#fail(
          `there is nothing before ${character} to repeat; for the character itself type \\${character}`,
        );
      default:
        return { kind: "unit", set: just(character) };
    }
  }

  #group(): Tree {
    if (this.#take("?:")) return this.#closed(this.#either());
    if (!this.#text.startsWith("?", this.#at)) return this.#closed(this.#either());
    const name = /^\?<([a-z][a-z0-9_]{0,39})>/.exec(this.#text.slice(this.#at, this.#at + 48))?.[1];
    if (name === undefined)
      return this.#fail(
        "after (? there may only stand : or <name> (a name of small letters, digits and _); lookaround is not to be had",
      );
    if (this.groups.includes(name)) this.#fail(`the group ${name} is there twice`);
    this.#at += name.length + 3;
    const slot = this.groups.push(name) - 1;
    return { kind: "group", slot, part: this.#closed(this.#either()) };
  }

  #closed(tree: Tree): Tree {
    if (!this.#take(")")) this.#fail("a ( is not closed");
    return tree;
  }

  #escape(): Tree {
    const character = this.#text[this.#at++];
    if (character === undefined) return this.#fail("a \\ stands at the end");
    if (character === "b") return { kind: "assert", what: "boundary" };
    if (character === "B") return { kind: "assert", what: "inside" };
    return { kind: "unit", set: this.#escaped(character) };
  }

  #escaped(character: string): UnitSet {
    const named = classes[character.toLowerCase()];
    if (named !== undefined) return { negated: character !== character.toLowerCase(), ranges: named };
    if (character === "t") return just("\t");
    if (/[A-Za-z0-9]/.test(character))
      return this.#fail(`\\${character} is not to be had; there are \\d \\w \\s \\b \\t and their opposites`);
    return just(character);
  }

  #class(): UnitSet {
    const negated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const from = this.#classMember();
      if (typeof from !== "number") {
        ranges.push(...from);
        continue;
      }
      if (!this.#text.startsWith("-", this.#at) || this.#text.startsWith("-]", this.#at)) {
        ranges.push([from, from]);
        continue;
      }
      this.#at += 1;
      const to = this.#classMember();
      if (typeof to !== "number" || to < from) return this.#fail("a range in [] has no right end");
      ranges.push([from, to]);
    }
    return { negated, ranges };
  }

  #classMember(): number | UnitSet["ranges"] {
    const character = this.#text[this.#at++];
    if (character === undefined) return this.#fail("a [ is not closed");
    if (character !== "\\") return character.charCodeAt(0);
    const escaped = this.#text[this.#at++];
    if (escaped === undefined) return this.#fail("a \\ stands at the end");
    const set = this.#escaped(escaped);
    if (set.negated) return this.#fail(`\\${escaped} cannot stand in []`);
    const [first] = set.ranges;
    return set.ranges.length === 1 && first![0] === first![1] ? first![0] : set.ranges;
  }

  #take(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #fail(what: string): never {
    throw new PatternProblem(`At character ${this.#at} of the pattern: ${what}.`);
  }
}

const range = (from: string, to: string) => [from.charCodeAt(0), to.charCodeAt(0)] as const;
const just = (character: string): UnitSet => ({ negated: false, ranges: [range(character, character)] });

const classes: Readonly<Record<string, UnitSet["ranges"]>> = {
  d: [range("0", "9")],
  w: [range("0", "9"), range("A", "Z"), range("_", "_"), range("a", "z")],
  s: [range("\t", "\r"), range(" ", " "), range("\u00a0", "\u00a0")],
};

function compile(tree: Tree, program: Instruction[], steps: Steps): void {
  if (steps.left-- === 0) throw new PatternProblem(tooLarge);
  switch (tree.kind) {
    case "unit":
      return add(program, { op: "unit", set: tree.set });
    case "assert":
      return add(program, { op: "assert", what: tree.what });
    case "sequence":
      for (const part of tree.parts) compile(part, program, steps);
      return;
    case "group":
      add(program, { op: "save", slot: 2 * tree.slot });
      compile(tree.part, program, steps);
      return add(program, { op: "save", slot: 2 * tree.slot + 1 });
    case "either":
      return compileEither(tree.options, program, steps);
    case "repeat":
      return compileRepeat(tree, program, steps);
  }
}

function compileEither(options: readonly Tree[], program: Instruction[], steps: Steps): void {
  const [first, ...rest] = options;
  if (first === undefined) return;
  if (rest.length === 0) return compile(first, program, steps);
  const split = { op: "split" as const, first: program.length + 1, second: 0 };
  add(program, split);
  compile(first, program, steps);
  const jump = { op: "jump" as const, to: 0 };
  add(program, jump);
  split.second = program.length;
  compileEither(rest, program, steps);
  jump.to = program.length;
}

function compileRepeat(
  { part, min, max, lazy }: Extract<Tree, { kind: "repeat" }>,
  program: Instruction[],
  steps: Steps,
): void {
  const endless = max === Infinity;
  for (let n = endless ? 1 : 0; n < min; n++) compile(part, program, steps);
  if (endless) {
    const leave = min === 0 ? splitHere(program, lazy) : () => {};
    compileLoop(part, lazy, program, steps);
    return leave();
  }
  const leaves: (() => void)[] = [];
  for (let n = min; n < max; n++) {
    leaves.push(splitHere(program, lazy));
    compile(part, program, steps);
  }
  for (const leave of leaves) leave();
}

/** Once or more often. Written once: as `xx*` it would double with each depth of ((a+)+)+. */
function compileLoop(part: Tree, lazy: boolean, program: Instruction[], steps: Steps): void {
  const again = program.length;
  compile(part, program, steps);
  const on = program.length + 1;
  add(program, { op: "split", first: lazy ? on : again, second: lazy ? again : on });
}

/** Go on with what follows, or leave: answers what says where leaving leads to. */
function splitHere(program: Instruction[], lazy: boolean): () => void {
  const split = { op: "split" as const, first: program.length + 1, second: program.length + 1 };
  add(program, split);
  return () => void (split[lazy ? "first" : "second"] = program.length);
}

const tooLarge = "With its repetitions written out the pattern is too large: use smaller numbers in {}.";

function add(program: Instruction[], instruction: Instruction): void {
  if (program.length >= instructionsMax) throw new PatternProblem(tooLarge);
  program.push(instruction);
}

/** The longest run of single characters that no match can be without. */
function neededBy(tree: Tree): string {
  let longest = "";
  let run = "";
  const end = () => {
    if (run.length > longest.length) longest = run;
    run = "";
  };
  const walk = (part: Tree): void => {
    if (part.kind === "sequence") return part.parts.forEach(walk);
    if (part.kind === "group") return walk(part.part);
    const unit = part.kind === "unit" ? onlyUnit(part.set) : null;
    if (unit !== null) run += unit;
    else if (part.kind !== "assert") end();
  };
  walk(tree);
  end();
  return longest;
}

function onlyUnit({ negated, ranges }: UnitSet): string | null {
  const [first] = ranges;
  return !negated && ranges.length === 1 && first![0] === first![1] ? String.fromCharCode(first![0]) : null;
}
