/** Shell syntax, as far as the demo machine's shell goes: lists, pipes, quotes, variables, `$(…)`, redirections. */
export interface Step {
  /** When it runs, given the exit code of what stands before it. */
  readonly when: "always" | "succeeded" | "failed";
  readonly pipeline: readonly Command[];
}

export interface Command {
  readonly words: readonly Word[];
  readonly redirects: readonly Redirect[];
}

/** A word in pieces: what stood in quotes is never a pattern. */
export type Word = readonly Piece[];
type Piece =
  | { readonly kind: "text"; readonly text: string; readonly quoted: boolean }
  | { readonly kind: "variable"; readonly name: string; readonly quoted: boolean }
  /** `$(line)`: what the line prints. */
  | { readonly kind: "substitution"; readonly line: string; readonly quoted: boolean };

export type Redirect =
  | {
      readonly kind: "file";
      readonly channel: 1 | 2 | "both";
      readonly append: boolean;
      readonly target: Word;
    }
  | { readonly kind: "join"; readonly channel: 1 | 2; readonly to: 1 | 2 };

/** Thrown for what a real shell would do and this one does not; nothing of the line has run then. */
export class Unsupported extends Error {}
/** Thrown for what no shell would take. */
export class SyntaxProblem extends Error {}

type Token = { readonly kind: "op"; readonly text: string } | { readonly kind: "word"; readonly word: Word };

/** `$(…)` inside one another. */
const substitutionsMax = 8;

const keywords = new Set([
  "for",
  "while",
  "until",
  "if",
  "case",
  "function",
  "select",
  "do",
  "then",
  "done",
  "fi",
  "[[",
  "{",
  "!",
]);

export function parse(line: string, depth = 0): Step[] {
  const tokens = tokenize(line, depth);
  const steps: Step[] = [];
  let pipeline: Command[] = [];
  let words: Word[] = [];
  let redirects: Redirect[] = [];
  let when: Step["when"] = "always";

  const endCommand = (operator: string) => {
    if (words.length === 0 && redirects.length === 0)
      throw new SyntaxProblem(`syntax error near unexpected token \`${operator}'`);
    const first = words[0]?.[0];
    if (first?.kind === "text" && !first.quoted && keywords.has(first.text))
      throw new Unsupported(`\`${first.text}\``);
    pipeline.push({ words, redirects });
    words = [];
    redirects = [];
  };
  const endStep = (operator: string, next: Step["when"]) => {
    const empty = words.length === 0 && redirects.length === 0 && pipeline.length === 0;
    // An empty line, or the end after a semicolon.
    if (!(
      empty &&
      when === "always" &&
      (operator === "\n" || operator === "end" || (operator === ";" && steps.length === 0))
    )) {
      endCommand(operator === "end" ? "newline" : operator);
      steps.push({ when, pipeline });
    }
    pipeline = [];
    when = next;
  };

  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at]!;
    if (token.kind === "word") {
      words.push(token.word);
      continue;
    }
    const redirect = /^([12&]?)(>>?)(&[12])?$/.exec(token.text);
    if (redirect !== null) {
      const [, from, arrow, join] = redirect;
      const channel = from === "2" ? 2 : 1;
      if (join !== undefined) {
        redirects.push({ kind: "join", channel, to: join === "&1" ? 1 : 2 });
        continue;
      }
      const target = tokens[++at];
      if (target?.kind !== "word") throw new SyntaxProblem("syntax error near unexpected token `newline'");
      redirects.push({
        kind: "file",
        channel: from === "&" ? "both" : channel,
        append: arrow === ">>",
        target: target.word,
      });
      continue;
    }
    switch (token.text) {
      case "|":
        endCommand("|");
        break;
      case "&&":
        endStep("&&", "succeeded");
        break;
      case "||":
        endStep("||", "failed");
        break;
      default:
        endStep(token.text, "always");
    }
  }
  endStep("end", "always");
  return steps;
}

function tokenize(line: string, depth: number): Token[] {
  const tokens: Token[] = [];
  let word: Piece[] | null = null;
  let at = 0;
  const add = (text: string, quoted: boolean) => {
    word ??= [];
    const last = word.at(-1);
    if (last?.kind === "text" && last.quoted === quoted)
      word[word.length - 1] = { kind: "text", text: last.text + text, quoted };
    else word.push({ kind: "text", text, quoted });
  };
  const endWord = () => {
    if (word !== null) tokens.push({ kind: "word", word });
    word = null;
  };
  /** Reads a variable or `$(…)` at `$`; everything else that begins so is not supported. */
  const dollar = (quoted: boolean) => {
    const variable = /^\$(?:([?#0-9@*])|([A-Za-z_]\w*)|\{([A-Za-z_]\w*|[0-9])\})/.exec(line.slice(at));
    if (variable !== null) {
      const name = variable[1] ?? variable[2] ?? variable[3]!;
      (word ??= []).push({ kind: "variable", name, quoted });
      at += variable[0].length;
      return;
    }
    if (line.startsWith("$((", at)) throw new Unsupported("arithmetic, `$((…))`");
    if (line.startsWith("$(", at)) {
      if (depth >= substitutionsMax) throw new Unsupported("`$(…)` so deep inside another");
      const end = endOfSubstitution(line, at + 2);
      // What this shell does not understand is told before anything has run.
      parse(line.slice(at + 2, end), depth + 1);
      (word ??= []).push({ kind: "substitution", line: line.slice(at + 2, end), quoted });
      at = end + 1;
      return;
    }
    if (line.startsWith("${", at) || line.startsWith("$'", at))
      throw new Unsupported(`\`${line.slice(at, at + 2)}\``);
    add("$", quoted);
    at++;
  };

  while (at < line.length) {
    const c = line[at]!;
    if (c === "`") throw new Unsupported("command substitution, backticks");
    if (c === "'") {
      const end = line.indexOf("'", at + 1);
      if (end < 0) throw new SyntaxProblem("unexpected EOF while looking for matching `''");
      add(line.slice(at + 1, end), true);
      at = end + 1;
    } else if (c === '"') {
      add("", true);
      for (at++; line[at] !== '"';) {
        if (at >= line.length) throw new SyntaxProblem("unexpected EOF while looking for matching `\"'");
        if (line[at] === "`") throw new Unsupported("command substitution, backticks");
        if (line[at] === "$") dollar(true);
        else if (line[at] === "\\" && /["\\$`]/.test(line[at + 1] ?? "")) {
          add(line[at + 1]!, true);
          at += 2;
        } else add(line[at++]!, true);
      }
      at++;
    } else if (c === "\\") {
      if (line[at + 1] !== "\n") add(line[at + 1] ?? "\\", true);
      at += 2;
    } else if (c === "$") dollar(false);
    else if (c === " " || c === "\t" || c === "\r") {
      endWord();
      at++;
    } else if (c === "#" && word === null) {
      while (at < line.length && line[at] !== "\n") at++;
    } else {
      const operator = operatorAt(line, at, word === null);
      if (operator === null) {
        add(c, false);
        at++;
      } else {
        endWord();
        tokens.push({ kind: "op", text: operator });
        at += operator.length;
      }
    }
  }
  endWord();
  return tokens;
}

/** Where the `)` stands that belongs to the `$(` before `at`: quotes hide it, and each may hold further ones. */
function endOfSubstitution(line: string, at: number): number {
  let depth = 1;
  for (let quote = ""; at < line.length; at++) {
    const c = line[at]!;
    if (c === "\\" && quote !== "'") at++;
    else if (quote !== "") quote = c === quote ? "" : quote;
    else if (c === "'" || c === '"') quote = c;
    else if (c === "(") depth++;
    else if (c === ")" && --depth === 0) return at;
  }
  throw new SyntaxProblem("unexpected EOF while looking for matching `)'");
}

/** A digit belongs to a redirection only where it begins a word. */
function operatorAt(line: string, at: number, fresh: boolean): string | null {
  const rest = line.slice(at, at + 4);
  const redirect = fresh ? /^(?:[12]?>&[12]|&>>?|[12]?>>?)/.exec(rest) : /^(?:>&[12]|&>>?|>>?)/.exec(rest);
  if (redirect !== null) return redirect[0];
  const operator = /^(?:&&|\|\||[;|\n&<()])/.exec(rest)?.[0];
  if (operator === undefined) return null;
  if (operator === "&") throw new Unsupported("running in the background, `&`");
  if (operator === "<") throw new Unsupported("redirection of input, `<`");
  if (operator === "(" || operator === ")") throw new Unsupported("subshells, `(…)`");
  if (rest.startsWith("|&")) throw new Unsupported("`|&`");
  return operator;
}
