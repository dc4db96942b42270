import { eventBytesMax, type Cut } from "../../../protocol/events.ts";

/**
 * Bytes of one text as JSON, with room for the rest of its Event. Beyond it the end is cut off, and
 * the Event says how long it was.
 */
export const textBytesMax = eventBytesMax - 1024 * 1024;

/** The text, or its beginning with how many bytes (UTF-8) there were. */
export function bounded(text: string): { readonly text: string; readonly cut?: Cut } {
  const encoded = jsonBytes(text);
  if (encoded <= textBytesMax) return { text };
  const bytes = Buffer.byteLength(text);
  let kept = text;
  // Escapes are not spread evenly: cut by proportion until it fits.
  for (let size = encoded; size > textBytesMax; size = jsonBytes(kept))
    kept = kept.slice(0, Math.floor((kept.length * textBytesMax * 0.98) / size));
  // Half a surrogate pair is no character.
  if (/[\uD800-\uDBFF]$/.test(kept)) kept = kept.slice(0, -1);
  return {
    text: `${kept}\n[cut here: ${bytes} bytes in all; the rest was not kept]`,
    cut: { bytes, whole: null },
  };
}

/** A tool's input as it is, or, when it is too large for an Event, its beginning as text. */
export function boundedInput(input: unknown): unknown {
  const json = JSON.stringify(input) ?? "null";
  if (Buffer.byteLength(json) <= textBytesMax) return input;
  return { cut: bounded(json).text };
}

function jsonBytes(text: string): number {
  // At worst a UTF-16 unit becomes an escape of six bytes: most texts surely fit and need no encoding to know it.
  return text.length * 6 <= textBytesMax ? 0 : Buffer.byteLength(JSON.stringify(text));
}
