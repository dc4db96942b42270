import { createHash } from "node:crypto";
import type { Body, StoredRecord } from "../store/store.ts";
import { redact, redactedMark } from "./redact.ts";

/** Who did what, when, on which Target, and how it ended. */
export interface AuditFact {
  readonly actor: string;
  /** What was asked: "verb cycle", "session create", "login", "checkpoint". */
  readonly action: string;
  readonly target?: string;
  /** JSON; secrets are redacted before it is written. */
  readonly detail?: unknown;
  readonly outcome?: string;
}

/** The hash before the first entry. */
export const genesis = "0".repeat(64);

/** A longer detail is replaced by its length and hash: the record stays readable. */
const detailCharactersMax = 64 * 1024;
/** Longer words are cut. */
const wordCharactersMax = 1024;
/** Deeper values are replaced: nobody means to record them. */
const depthMax = 16;

/** The stored form: `prev` is the hash of the entry before, `hash` this one's own. */
export function entryOf(fact: AuditFact, at: Date, prev: string): Body & { readonly hash: string } {
  const body = {
    kind: "audit",
    at: at.toISOString(),
    actor: word(fact.actor),
    action: word(fact.action),
    ...(fact.target !== undefined && { target: word(fact.target) }),
    ...(fact.detail !== undefined && { detail: shortened(plain(fact.detail, 0)) }),
    ...(fact.outcome !== undefined && { outcome: word(fact.outcome) }),
    prev,
  };
  return { ...body, hash: hashOf(body) };
}

/** Of everything but the id and the hash itself, whatever the order in which a store gives the fields back. */
export function hashOf(record: Body | StoredRecord): string {
  const { id: _, hash: __, ...content } = record as StoredRecord & { readonly hash?: unknown };
  return createHash("sha256").update(canonical(content)).digest("hex");
}

/** JSON with sorted keys and no space (as RFC 8785 sorts them). */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(",")}}`;
}

function word(text: string): string {
  return redact(text).slice(0, wordCharactersMax).toWellFormed();
}

const secretKey =
  /^(?:.*[_-])?(?:password|passwd|passphrase|secret|token|api_?key|private_?key|authorization|cookie)$/i;

/** What JSON can say, and says the same after a round trip; without secrets. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redact(value).toWellFormed();
  if (typeof value === "boolean" || value === null) return value;
  if (typeof value === "number") return Number.isFinite(value) ? value + 0 : String(value);
  if (typeof value !== "object") return String(value);
  if (depth >= depthMax) return "(deeper than the record goes)";
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "(no date)" : value.toISOString();
  if (value instanceof Error) return redact(String(value));
  if (Array.isArray(value)) return value.map((item: unknown) => plain(item, depth + 1));
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(
    fields.map(([key, field]) => [
      key.toWellFormed(),
      secretKey.test(key) ? redactedMark : plain(field, depth + 1),
    ]),
  );
}

function shortened(detail: unknown): unknown {
  const text = canonical(detail);
  if (text.length <= detailCharactersMax) return detail;
  return { cut: true, characters: text.length, sha256: createHash("sha256").update(text).digest("hex") };
}
