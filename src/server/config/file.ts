import { parseDocument } from "yaml";
import * as z from "zod";
import { notShown, shown, stop, complain, type Findings } from "./findings.ts";
import { placeOf, shownAt } from "./places.ts";

// This module brings `yaml` and `zod` with it: it is imported only when a file is named (start-up time, memory).

/** What may stand in the file. Shapes only: hosts, names and accounts are checked where the variables' are. */
const side = { host: z.string(), user: z.string().optional() };
const fileSchema = z.strictObject({
  targets: z
    .array(
      z.strictObject({
        name: z.string(),
        guest: z.strictObject({ ...side, observe_user: z.string().optional() }).optional(),
        power: z.strictObject({ ...side, vmid: z.int().min(100).max(999_999_999).optional() }).optional(),
      }),
    )
    .optional(),
  tokens: z
    .array(
      z.strictObject({
        name: z.string(),
        scope: z.enum(["operate", "read"]).optional(),
        sha256: z
          .string()
          .regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits: printf %s TOKEN | sha256sum"),
      }),
    )
    .optional(),
  edge_header: z.string().optional(),
  presets: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(40),
        about: z.string().max(200).optional(),
        prompt: z.string().min(1).max(8192),
        runbook: z.string().max(40).optional(),
      }),
    )
    .min(1)
    .max(20)
    .optional(),
  // Each is read by the room of the Runbooks, which tells its problems at their places.
  runbooks: z.array(z.unknown()).max(50).optional(),
});

export type ConfigFile = z.infer<typeof fileSchema>;

/** A longer file is refused: it is not a configuration. */
const fileCharactersMax = 1024 * 1024;

const where = "Nothing in the file counts until then.";

/** What the file says, as far as it is right; the rest is among the findings. */
export function readConfigFile(path: string, text: string, findings: Findings): ConfigFile {
  const unusable = (reason: string) => {
    stop(findings, "BREAKGLASS_CONFIG", shown(path), `The file ${reason}. ${where}`);
    return {};
  };
  if (text.length > fileCharactersMax) return unusable(`is longer than ${fileCharactersMax} characters`);
  // prettyErrors would quote the source, and with it whatever stands there.
  const document = parseDocument(text, { prettyErrors: false });
  const fault = document.errors[0];
  if (fault !== undefined) {
    const line = text.slice(0, fault.pos[0]).split("\n").length;
    return unusable(`is no YAML: line ${line}: ${fault.code}. Mend that line`);
  }
  let content: unknown;
  try {
    content = document.toJS() ?? {};
  } catch (error) {
    return unusable(`cannot be unfolded (${String(error).slice(0, 120)}). Write it without aliases`);
  }
  const parsed = fileSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const wrong = new Set<PropertyKey>();
  for (const issue of parsed.error.issues) {
    wrong.add(issue.path[0] ?? "");
    tell(content, issue, findings);
  }
  return [...wrong].every(isHarmless) ? without(wrong, content) : {};
}

/** What stands in for these until they are right. A mistyped `targets` or `tokens` looks like any unknown key, and stops. */
const harmless: Readonly<Record<string, string>> = {
  presets: "The built-in presets are shown until then.",
  runbooks: "Only the runbooks that come with Breakglass are there until then.",
};

const isHarmless = (key: PropertyKey) => Object.hasOwn(harmless, key);

function tell(content: unknown, issue: z.core.$ZodIssue, findings: Findings): void {
  const part = String(issue.path[0] ?? "");
  const say = isHarmless(part) ? complain : stop;
  const harm = isHarmless(part) ? harmless[part] : where;
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys) {
      const option = placeOf([...issue.path, key]);
      say(
        findings,
        option,
        notShown,
        `No such key. ${harm} Check the spelling against docs/configuration.md.`,
      );
    }
    return;
  }
  const place = issue.path.length === 0 ? "BREAKGLASS_CONFIG" : placeOf(issue.path);
  say(findings, place, valueAt(content, issue.path), `${issue.message}. ${harm} See docs/configuration.md.`);
}

function valueAt(content: unknown, path: readonly PropertyKey[]): string {
  if (path[0] === "tokens" && path.at(-1) !== "name" && path.at(-1) !== "scope") return notShown;
  return shownAt(content, path);
}

function without(wrong: ReadonlySet<PropertyKey>, content: unknown): ConfigFile {
  return fileSchema.parse(
    Object.fromEntries(Object.entries(content as object).filter(([key]) => !wrong.has(key))),
  );
}
