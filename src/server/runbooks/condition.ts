/** `used >= 90`, `available * 20 < total`: numbers and names with + - * / between them, and one comparison. */
export interface Condition {
  readonly left: Sum;
  readonly compare: Comparison;
  readonly right: Sum;
}

type Comparison = ">=" | "<=" | ">" | "<" | "=" | "!=";
type Operand = { readonly number: number } | { readonly name: string };
interface Factor {
  readonly by: "*" | "/";
  readonly operand: Operand;
}
interface Product {
  readonly sign: 1 | -1;
  readonly first: Operand;
  readonly rest: readonly Factor[];
}
type Sum = readonly Product[];

/** A longer one is refused. */
const conditionCharsMax = 200;

export class ConditionProblem extends Error {
  override readonly name = "ConditionProblem";
}

/** Throws a ConditionProblem that says what is wrong. */
export function parseCondition(text: string): Condition {
  if (text.length > conditionCharsMax)
    throw new ConditionProblem(
      `A condition may have ${conditionCharsMax} characters, and this one has more.`,
    );
  const words = text.match(/>=|<=|!=|[<>=*/+-]|[a-z][a-z0-9_]*|\d+(?:\.\d+)?|\S/g) ?? [];
  const left = takeSum(words);
  const compare = comparisonOf(words.shift());
  const right = takeSum(words);
  if (words.length > 0)
    throw new ConditionProblem(
      `"${words[0]}" is too much. Of several conditions make a list: all must hold.`,
    );
  return { left, compare, right };
}

/** Names that the condition speaks of. */
export function namesIn({ left, right }: Condition): readonly string[] {
  return [...left, ...right].flatMap(({ first, rest }) =>
    [first, ...rest.map(({ operand }) => operand)].flatMap((operand) =>
      "name" in operand ? [operand.name] : [],
    ),
  );
}

/** null: one of its names is no number here, so that nobody knows. */
export function holds(condition: Condition, valueOf: (name: string) => number | undefined): boolean | null {
  const left = valueOfSum(condition.left, valueOf);
  const right = valueOfSum(condition.right, valueOf);
  if (!Number.isFinite(left) || !Number.isFinite(right)) return null;
  switch (condition.compare) {
    case ">=":
      return left >= right;
    case "<=":
      return left <= right;
    case ">":
      return left > right;
    case "<":
      return left < right;
    case "=":
      return left === right;
    case "!=":
      return left !== right;
  }
}

function takeSum(words: string[]): Sum {
  const products = [takeProduct(words, 1)];
  while (words[0] === "+" || words[0] === "-")
    products.push(takeProduct(words, words.shift() === "+" ? 1 : -1));
  return products;
}

function takeProduct(words: string[], sign: 1 | -1): Product {
  const first = takeOperand(words);
  const rest: Factor[] = [];
  for (let [by] = words; by === "*" || by === "/"; [by] = words) {
    words.shift();
    rest.push({ by, operand: takeOperand(words) });
  }
  return { sign, first, rest };
}

function takeOperand(words: string[]): Operand {
  const word = words.shift();
  if (word !== undefined && /^\d/.test(word)) return { number: Number(word) };
  if (word !== undefined && /^[a-z]/.test(word)) return { name: word };
  throw new ConditionProblem(
    word === undefined
      ? "It ends too early. It must be like: used >= 90"
      : `"${word.slice(0, 20)}" is neither a number nor a name. It must be like: used >= 90`,
  );
}

function comparisonOf(word: string | undefined): Comparison {
  switch (word) {
    case ">=":
    case "<=":
    case ">":
    case "<":
    case "=":
    case "!=":
      return word;
    default:
      throw new ConditionProblem("One of >= <= > < = != must stand in it, like: used >= 90");
  }
}

function valueOfSum(sum: Sum, valueOf: (name: string) => number | undefined): number {
  const value = (operand: Operand) =>
    "number" in operand ? operand.number : (valueOf(operand.name) ?? Number.NaN);
  return sum.reduce(
    (total, { sign, first, rest }) =>
      total +
      sign *
        rest.reduce(
          (product, { by, operand }) => (by === "*" ? product * value(operand) : product / value(operand)),
          value(first),
        ),
    0,
  );
}
