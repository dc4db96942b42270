import { complain, shown, type Findings } from "./findings.ts";
import type { OptionName, Read } from "./options.ts";
import { parseNumber, type NumberRange } from "./values.ts";

/** A number with its default; a bad one is told with its range, and the default holds. */
export function readNumber(
  read: Read,
  option: OptionName,
  range: NumberRange & { readonly default: number },
  meanwhile: string,
  findings: Findings,
): number {
  const text = read(option);
  if (text === undefined) return range.default;
  const value = parseNumber(text, range);
  if (value === undefined) {
    const kind = range.whole ? "a whole number" : "a number";
    complain(
      findings,
      option,
      shown(text),
      `It must be ${kind} from ${range.min} to ${range.max}. ${meanwhile}`,
    );
  }
  return value ?? range.default;
}
