/** One line that says what a tool was asked to do: the field that tells most, else the input as it is. */
const telling = ["command", "file_path", "path", "pattern", "query", "url", "description"] as const;

export function toolSummary(input: unknown): string {
  if (typeof input === "string") return oneLine(input);
  if (typeof input !== "object" || input === null) return "";
  const fields = input as Record<string, unknown>;
  for (const name of telling) if (typeof fields[name] === "string") return oneLine(fields[name]);
  return oneLine(JSON.stringify(input));
}

/** The whole of it, for the opened entry. */
export function toolInput(input: unknown): string {
  if (typeof input === "object" && input !== null && "command" in input && typeof input.command === "string")
    return input.command;
  return typeof input === "string" ? input : JSON.stringify(input, null, 2);
}

/** Longer lines are cut for the list; the opened entry has the whole. */
const lineMax = 200;

function oneLine(text: string): string {
  return text
    .replaceAll(/[ \n\t]+/g, " ")
    .trim()
    .slice(0, lineMax);
}
