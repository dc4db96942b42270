import { StringDecoder } from "node:string_decoder";
import { redact, redactedMark } from "../audit/redact.ts";

/** A line or a key that is longer is cut, at a place where no secret is seen to be torn. Also what is held at most. */
const heldCharactersMax = 128 * 1024;
/** A longer line without an end is cut as well, so that output of one line is not held. */
const lineCharactersMax = 64 * 1024;
/** Looked at around such a cut: a secret that is longer may be torn. */
const cutWindow = 8 * 1024;

/** Left out at most of a line whose beginning is not known: a secret in it may be torn. */
export const tornBytesMax = 1024;

/** `redact` for output that comes in pieces, in whole lines and whole keys. */
export class Redacting {
  #held = "";
  /** Still to be left out at most, up to the next line. */
  #tornBytes: number;
  /** A key may have begun before what comes next. */
  #inKey: boolean;
  readonly #decoder = new StringDecoder("utf8");

  /** `fromMiddle`: what comes first may be the rest of a line and of a key, and is left out as far as it may. */
  constructor({ fromMiddle = false }: { readonly fromMiddle?: boolean } = {}) {
    this.#tornBytes = fromMiddle ? tornBytesMax : 0;
    this.#inKey = fromMiddle;
  }

  /** What is safe to be written by now. */
  take(bytes: Buffer): string {
    this.#held += this.#decoder.write(this.#whole(bytes));
    const stop = this.#safe();
    const text = this.#held.slice(0, stop);
    this.#held = this.#held.slice(stop);
    return text === "" ? "" : this.#redacted(text);
  }

  end(): string {
    const text = this.#held + this.#decoder.end();
    this.#held = "";
    return text === "" ? "" : this.#redacted(text);
  }

  /** Without the rest of a line that began before. */
  #whole(bytes: Buffer): Buffer {
    const looked = bytes.subarray(0, this.#tornBytes);
    const line = looked.indexOf("\n");
    this.#tornBytes = line === -1 ? this.#tornBytes - looked.length : 0;
    return bytes.subarray(line === -1 ? looked.length : line + 1);
  }

  /** How much of what is held may go. */
  #safe(): number {
    const held = this.#held;
    const lines = held.lastIndexOf("\n") + 1;
    const key = openKey(held, lines);
    if (key > 0) return key;
    if (key === 0) return held.length > heldCharactersMax ? held.length : 0;
    if (lines > 0) return lines;
    return held.length > lineCharactersMax ? cutOfLine(held) : 0;
  }

  #redacted(text: string): string {
    const rest = this.#inKey ? restOfKey(text) : 0;
    if (rest === text.length) return "";
    this.#inKey = false;
    const clean = redact(text.slice(rest));
    // An endless key: more of it follows.
    if (openKey(text, text.length) !== -1) this.#inKey = clean.endsWith(redactedMark);
    return rest > 0 ? `${redactedMark}\n${clean}` : clean;
  }
}

/** Where the line begins in which a key begins that has no end before `stop`; -1: there is none. */
function openKey(text: string, stop: number): number {
  const begin = text.lastIndexOf("-----BEGIN ", stop);
  if (begin === -1) return -1;
  const end = text.indexOf("-----END ", begin);
  return end === -1 || end >= stop ? text.lastIndexOf("\n", begin) + 1 : -1;
}

/** Where both halves together show what the whole shows. */
function cutOfLine(line: string): number {
  const from = line.length - cutWindow;
  const end = line.slice(from);
  const whole = redact(end);
  for (let at = cutWindow - cutWindow / 4; at > 0; at -= 512) {
    if (redact(end.slice(0, at)) + redact(end.slice(at)) === whole) return from + at;
  }
  return line.length;
}

/** How much at the beginning of a text may belong to a key that began before it: lines of base64, and its last line. */
export function restOfKey(text: string): number {
  return /^(?:[A-Za-z0-9+/=]{40,}\r?\n)*(?:[A-Za-z0-9+/=]{1,100}\r?\n-----END [^\n]*\n?)?(?:-----END [^\n]*\n?)?/.exec(
    text,
  )![0].length;
}
