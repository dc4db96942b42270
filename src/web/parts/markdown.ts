import { Lexer, type Token } from "marked";

/** The parts of a Markdown text. Nothing here is HTML: Tokens.svelte makes elements of them one by one. */
export function markdown(text: string): readonly Token[] {
  return new Lexer({ gfm: true }).lex(text);
}
