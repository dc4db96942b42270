import { visible, type Piece } from "../../protocol/visible.ts";

/** A run of one and the same named character is told once, with how often. */
export interface Shown extends Piece {
  readonly times: number;
  /** Beyond ASCII: it may look like something that it is not. */
  readonly foreign: boolean;
}

/** Lines and pieces; a text of more is drawn as one, as ⟨U+202E⟩: so many elements would hang the page. */
export const partsMax = 4000;

/** The lines of a text, each in pieces that may be shown as they are. A last line end opens no further line. */
export function exactLines(text: string): readonly (readonly Shown[])[] {
  const lines: Shown[][] = [[]];
  for (const piece of visible(text)) {
    const parts = piece.named ? [piece.text] : piece.text.split("\n");
    for (const [at, part] of parts.entries()) {
      if (at > 0) lines.push([]);
      const line = lines.at(-1)!;
      const before = line.at(-1);
      if (piece.named && before?.named === true && before.text === part)
        line[line.length - 1] = { ...before, times: before.times + 1 };
      else if (piece.named) line.push({ text: part, named: true, times: 1, foreign: false });
      else
        for (const text of part.split(beyondAscii).filter((run) => run !== ""))
          line.push({ text, named: false, times: 1, foreign: text.charAt(0) > "\u007f" });
    }
  }
  if (lines.length > 1 && lines.at(-1)!.length === 0) lines.pop();
  return lines;
}

/** Splits with what it finds kept. */
const beyondAscii = /([^\0-\u007f]+)/u;

/** What a reader should know of a text before they trust their eyes. */
export interface Measure {
  readonly lines: number;
  readonly bytes: number;
  /** Characters that are named since they could not be seen, or could deceive. */
  readonly named: number;
  /** Characters beyond ASCII that look like something: some look like others. */
  readonly foreign: number;
}

export function measure(text: string): Measure {
  const pieces = visible(text);
  const shown = pieces.filter(({ named }) => !named);
  return {
    lines: text === "" ? 0 : exactLines(text).length,
    bytes: new TextEncoder().encode(text).length,
    named: pieces.length - shown.length,
    foreign: shown.reduce((sum, piece) => sum + [...piece.text.matchAll(/[^\0-\u007f]/gu)].length, 0),
  };
}

/** "00000010  de ad be ef …  ....": as hexdump does, for a narrow screen. */
export function hexLines(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += rowBytes) {
    const row = [...bytes.subarray(at, at + rowBytes)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const seen = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex.padEnd(rowBytes * 3 - 1)}  ${seen}`);
  }
  return lines.join("\n");
}

/** Fits 320 px. */
const rowBytes = 8;
