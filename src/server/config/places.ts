import { shown } from "./findings.ts";

/** `targets[0].guest.host` */
export function placeOf(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${shown(String(part)).slice(1, -1)}`))
    .join("")
    .replace(/^\./, "");
}

/** What stands at a place, as it may be shown. */
export function shownAt(content: unknown, path: readonly PropertyKey[]): string {
  let value = content;
  for (const part of path) {
    if (typeof value !== "object" || value === null) return "missing";
    value = (value as Readonly<Record<PropertyKey, unknown>>)[part];
  }
  if (value === undefined) return "missing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "a map";
  return shown(String(value));
}
