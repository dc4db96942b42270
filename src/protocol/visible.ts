/** A piece of text as it may be shown: what a reader could not see, or what could deceive them, is named instead. */
export interface Piece {
  readonly text: string;
  /** True: `text` names a character ("U+202E") instead of being it. */
  readonly named: boolean;
}

/**
 * Control characters but newline and tab, what has no width or is a space that looks like another, what turns the reading
 * direction, variation selectors, tags, private and unassigned characters, and halves of surrogate pairs.
 */
const unseen =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}\p{Variation_Selector}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;

/** Cuts a text into what may be shown as it is and what is named; joined as they are the pieces say what will run. */
export function visible(text: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  for (const found of text.matchAll(unseen)) {
    const [character] = found;
    if (character === "\n" || character === "\t") continue;
    if (found.index > from) pieces.push({ text: text.slice(from, found.index), named: false });
    pieces.push({ text: nameOf(character), named: true });
    from = found.index + character.length;
  }
  if (from < text.length) pieces.push({ text: text.slice(from), named: false });
  return pieces;
}

/** The same as one string, for a terminal and for Markdown: `⟨U+202E⟩`. */
export function visibleText(text: string): string {
  return visible(text)
    .map((piece) => (piece.named ? `⟨${piece.text}⟩` : piece.text))
    .join("");
}

function nameOf(character: string): string {
  return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;
}
