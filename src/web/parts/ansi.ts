export interface Styled {
  readonly text: string;
  /** Names of classes, such as "red bold"; empty for plain text. */
  readonly look: string;
}

const colours = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;

// CSI sequences (ECMA-48 5.4), OSC strings, and two-character escapes.
// oxlint-disable-next-line no-control-regex
const escapes = /\x1b\[([0-9;:?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]/g;
// Line ends and tabs stay; other control characters and those that turn the direction of text are shown as a mark.
// oxlint-disable-next-line no-control-regex
const invisible = /[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Stands where a carriage return had a line begin anew, so that nothing was taken away without a trace. */
const overwritten = "\u2026";

/** Text of a terminal as pieces with colours. What is neither colour nor bold is dropped: a log cannot move the cursor. */
export function ansi(text: string): readonly Styled[] {
  const pieces: Styled[] = [];
  let colour = "";
  let bold = false;
  let at = 0;
  const push = (raw: string) => {
    const shown = raw
      .replaceAll("\r\n", "\n")
      .replace(/^(?:.*\r)+(?=.)/gm, overwritten)
      .replaceAll("\r", "")
      .replace(invisible, "\u00b7");
    if (shown !== "")
      pieces.push({ text: shown, look: [colour, bold ? "bold" : ""].filter(Boolean).join(" ") });
  };
  for (const found of text.matchAll(escapes)) {
    push(text.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[2] !== "m") continue;
    const codes = found[1]!.split(/[;:]/).map(Number);
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i]!;
      if (code === 0) [colour, bold] = ["", false];
      else if (code === 1) bold = true;
      else if (code === 22) bold = false;
      else if (code >= 30 && code <= 37) colour = colours[code - 30]!;
      else if (code >= 90 && code <= 97) colour = colours[code - 90]!;
      else if (code === 39) colour = "";
      else if (code === 38 || code === 48) i += codes[i + 1] === 5 ? 2 : 4;
    }
  }
  push(text.slice(at));
  return pieces;
}
