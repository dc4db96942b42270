import type { EventKind, StoredEvent } from "./events.ts";

/** A value, or one sentence about why there is none. */
export type Decoded<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

type Shape = Readonly<Record<string, (value: unknown) => boolean>>;

const string = (value: unknown) => typeof value === "string";
const number = (value: unknown) => typeof value === "number" && Number.isFinite(value);
const boolean = (value: unknown) => typeof value === "boolean";
const list = Array.isArray;
const anything = () => true;

/** The fields without which an Event of this kind cannot be shown. Further fields pass: a newer server may add some. */
const shapes: Readonly<Record<EventKind, Shape>> = {
  user: { text: string },
  session: { session_id: string },
  text: { text: string },
  tool: { name: string, input: anything },
  tool_result: { tool_id: string, is_error: boolean, text: string },
  result: { is_error: boolean, result: string, duration_ms: number },
  error: { error: string },
  cancelled: {},
  turn_end: { reason: string },
  interrupted: { unknown: list },
  exec: { phase: string, n: number, target: string, account: string, command: string },
  operation: { phase: string, operation: string, target: string, verb: string },
  approval: { approval: string, target: string, account: string, command: string, expires_at: string },
  decision: { approval: string, decision: string },
  mode: { mode: string },
  runbook: { phase: string, name: string, title: string, target: string },
};

/** An Event as it came off the wire or the disk; an unknown kind is a problem that readers skip. */
export function decodeEvent(value: unknown): Decoded<StoredEvent> {
  if (typeof value !== "object" || value === null) return problem("An event must be a JSON object.");
  const event = value as Record<string, unknown>;
  const { id, kind } = event;
  if (!Number.isSafeInteger(id) || (id as number) < 0)
    return problem(`Event id ${String(id)} is not a whole number from 0.`);
  if (typeof event["at"] !== "string") return problem(`Event ${String(id)} has no time ("at").`);
  if (typeof kind !== "string" || !Object.hasOwn(shapes, kind))
    return problem(`Event ${String(id)} has the unknown kind ${String(kind)}.`);
  for (const [field, fits] of Object.entries(shapes[kind as EventKind])) {
    if (!fits(event[field])) return problem(`Event ${String(id)} (${kind}) has no usable "${field}".`);
  }
  return { ok: true, value: event as unknown as StoredEvent };
}

/** `Last-Event-ID` and its like: the id after which to replay, or null for the whole log. */
export function decodeLastEventId(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : null;
}

function problem(text: string): { ok: false; problem: string } {
  return { ok: false, problem: text };
}
