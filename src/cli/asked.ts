import { parseArgs } from "node:util";

export interface Asked {
  readonly words: readonly string[];
  readonly target: string | undefined;
  readonly json: boolean;
}

/** `WORD... [--target NAME] [--json]`; a string is the sentence that says what is wrong with it. */
export function parseAsked(args: readonly string[]): Asked | string {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { target: { type: "string" }, json: { type: "boolean", default: false } },
    });
    return { words: positionals, target: values.target, json: values.json };
  } catch (error) {
    return (error as Error).message;
  }
}
