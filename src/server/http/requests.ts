import { z } from "zod";
import { promptBytesMax } from "../../protocol/events.ts";
import { isUuid, type Uuid } from "../../protocol/ids.ts";
import { parseVerb, verbNames, type Verb } from "../../protocol/verbs.ts";

/** Bodies of requests, parsed at the door. Every message is a sentence that names the mend. */

/** JSON escapes may make a prompt six times as long; beyond this nothing is read. */
export const bodyBytesMax = 6 * promptBytesMax + 64 * 1024;

/** Of a login, which is read before anybody is known. */
export const loginBytesMax = 8 * 1024;

const uuid = z.custom<Uuid>(isUuid, "must be a UUID in lower case, made by the client.");

/** Unknown fields pass here and are ignored: clients of the first contract may send more. */
export const promptBody = z.object({
  prompt: z
    .string("must be a text.")
    .refine((text) => text.trim() !== "", "is empty. Type what is wrong, or tap a preset.")
    .refine(
      (text) => Buffer.byteLength(text) <= promptBytesMax,
      `is larger than ${promptBytesMax / 1024} KiB. Send the part that matters.`,
    )
    .transform((text) => text.toWellFormed()),
  model: z
    .string("must be a text.")
    .regex(/^[\w.:/@[\]-]{1,100}$/, "is no name of a model.")
    .nullish(),
  key: uuid.nullish(),
});

const verb = z.custom<Verb>(
  (word) => parseVerb(word) !== undefined,
  `must be one of: ${verbNames.join(", ")}.`,
);

export const operationBody = z.strictObject({ verb, key: uuid, after: uuid.nullish() });

export const hostKeyBody = z.strictObject({
  side: z.enum(["guest", "hypervisor"], "must be guest or hypervisor."),
  fingerprint: z
    .string("must be a text.")
    .regex(
      /^SHA256:[A-Za-z0-9+/]{43}$/,
      'must be a fingerprint as `ssh-keygen -l` shows it: "SHA256:" and 43 characters.',
    ),
});

/** How long an answer may be held until there is something new; more is taken for this. */
const heldSecondsMax = 25;

export const operationQuery = z.object({
  after: z.coerce.number("must be a number.").int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  wait: z.coerce
    .number("must be a number of seconds.")
    .min(0)
    .transform((seconds) => Math.min(seconds, heldSecondsMax))
    .default(0),
});

/** Of /rescue: browsers send every field, an empty one as "". */
export const formBytesMax = 8 * 1024;

export const rescueLoginBody = z.object({ credential: z.string("is missing.").trim().min(1, "is empty.") });

export const rescueOperationBody = z.object({
  verb,
  /** Made for the page that the form stands on. What changes nothing needs none. */
  key: uuid.optional(),
  after: z
    .literal("")
    .transform(() => null)
    .or(uuid)
    .optional(),
  form: z.string().optional(),
});

export const sessionChangeBody = z.strictObject({
  name: z.string("must be a text.").trim().max(200, "is longer than 200 characters.").optional(),
  archived: z.boolean("must be true or false.").optional(),
  mode: z
    .enum(["observe", "supervised", "autonomous"], "must be observe, supervised or autonomous.")
    .optional(),
});

export const approvalBody = z.strictObject({
  decision: z.enum(["approve", "deny"], "must be approve or deny."),
  sha256: z
    .string("must be a text.")
    .regex(/^[0-9a-f]{64}$/, "must be the request's own, as it was shown: 64 digits of lower-case hex."),
});

export const freezeBody = z.strictObject({ frozen: z.boolean("must be true or false.") });

export const runbookBody = z.strictObject({
  name: z.string("must be a text.").min(1, "is empty.").max(200, "is longer than 200 characters."),
  target: z.string("must be a text.").max(200, "is longer than 200 characters.").nullish(),
  key: uuid.nullish(),
});

export const loginBody = z.union(
  [z.strictObject({ link: z.string().max(200) }), z.strictObject({ token: z.string().max(4_096) })],
  'must be {"link": "..."} or {"token": "..."}.',
);

export const pageQuery = z.object({
  before: z.coerce.number("must be a number.").int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  limit: z.coerce.number("must be a number.").int().min(1).max(1_000).default(200),
});

/** One sentence for each thing that is wrong. */
export function problemOf(error: z.ZodError): string {
  return error.issues.map(sentenceOf).join(" ");
}

function sentenceOf(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") return `Unknown field: ${issue.keys.join(", ")}.`;
  if (issue.path.length === 0 && issue.code === "invalid_type") return "The body must be a JSON object.";
  const sentence = `${issue.path.join(".") || "The body"} ${issue.message}`;
  return sentence.endsWith(".") ? sentence : `${sentence}.`;
}
