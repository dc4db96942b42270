/** Characters of a text in its place; what is cut says so. */
export const textMax = {
  moment: 400,
  command: 4_000,
  agent: 16_000,
  sentence: 1_000,
  output: 8_000,
  probe: 2_000,
};

/** A stored value may be of an older or a newer writer: what is no text is none. */
export const text = (value: unknown): string => (typeof value === "string" ? value : "");
export const number = (value: unknown): number =>
  typeof value === "number" && Number.isFinite(value) ? value : 0;
export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
export const orNull = (value: unknown): string | null => (typeof value === "string" ? value : null);
export const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? { ...value } : {};
export const sentence = (value: unknown): string => cut(text(value), textMax.sentence);

export function cut(whole: string, charsMax: number): string {
  return whole.length <= charsMax
    ? whole
    : `${whole.slice(0, charsMax).toWellFormed()} [${whole.length - charsMax} more characters]`;
}
