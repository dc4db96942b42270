import type { ConsoleFacts } from "../../protocol/api.ts";
import type { SessionId, Uuid } from "../../protocol/ids.ts";
import type { Transcript } from "../../protocol/transcript.ts";

/** What the device keeps: drafts, and the last Transcript for reading offline. A full or forbidden storage keeps nothing. */
export interface KeptDraft {
  readonly text: string;
  /** The key of an attempt to send exactly this text whose answer was lost. */
  readonly key: Uuid | null;
}

export interface KeptReading {
  readonly asOf: string;
  readonly facts: ConsoleFacts;
  readonly session: SessionId;
  readonly name: string;
  readonly transcript: Transcript;
}

/** Beyond these the older half is not kept, again and again until it fits; 2 bytes a character, 5 MB in all browsers. */
const keptEntriesMax = 400;
const keptCharsMax = 500_000;

export function keepDraft(session: SessionId, draft: KeptDraft): void {
  if (draft.text === "") remove(`draft:${session}`);
  else write(`draft:${session}`, JSON.stringify(draft));
}

export function keptDraft(session: SessionId): KeptDraft {
  return (read(`draft:${session}`) as KeptDraft | undefined) ?? { text: "", key: null };
}

export function keepReading({ facts, ...read }: KeptReading): void {
  // A request that waits holds what no record may keep; offline it could not be answered either.
  const reading = { ...read, facts: { ...facts, now: { ...facts.now, approvals: [] } } };
  let entries = reading.transcript.entries.slice(-keptEntriesMax);
  for (;;) {
    const text = JSON.stringify({ ...reading, transcript: { ...reading.transcript, entries } });
    if (text.length <= keptCharsMax) return write("reading", text);
    if (entries.length <= 1) return;
    entries = entries.slice(Math.ceil(entries.length / 2));
  }
}

export function keptReading(): KeptReading | undefined {
  return read("reading") as KeptReading | undefined;
}

export function forgetReading(): void {
  remove("reading");
}

function read(name: string): unknown {
  try {
    const text = localStorage.getItem(name);
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function write(name: string, text: string): void {
  try {
    localStorage.setItem(name, text);
  } catch {
    // The storage is full or forbidden: the page goes on, only without what it would have kept.
  }
}

function remove(name: string): void {
  try {
    localStorage.removeItem(name);
  } catch {
    // As above.
  }
}
