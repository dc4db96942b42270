import { redact } from "../audit/redact.ts";

/** Every text in it without what looks like a secret: what is not written cannot leak. */
export function redacted<T>(value: T): T {
  if (typeof value === "string") return redact(value) as T;
  if (Array.isArray(value)) return value.map(redacted) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, redacted(each)])) as T;
}
