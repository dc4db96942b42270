import * as z from "zod";
import { ConditionProblem, parseCondition } from "./condition.ts";
import { parsePattern, PatternProblem } from "./pattern.ts";

// This module brings `zod` with it: only `read.ts` imports it, which is imported late.

/** Of one step and of one rule's list; more is refused. */
const stepsMax = 40;
const rulesMax = 30;
const waysMax = 4;
const valuesMax = 20;
const conditionsMax = 8;
/** A step may take so long at most; one that sets nothing gets the default. */
const secondsMax = 60;
const secondsDefault = 10;
/** Of a command. */
const commandCharsMax = 500;

/** What a parser answers, or its problem at its place. */
const parsed = <T>(parse: (text: string) => T) =>
  z.string("must be a text").transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof PatternProblem || error instanceof ConditionProblem)) throw error;
      context.issues.push({ code: "custom", input: text, message: withoutStop(error.message) });
      return z.NEVER;
    }
  });

const pattern = parsed(parsePattern);
const condition = parsed(parseCondition);
/** One, or a list of them. */
const some = <T extends z.ZodType>(each: T, max: number) =>
  z.preprocess(
    (value) => (Array.isArray(value) ? value : [value]),
    z.array(each).min(1, "must not be empty").max(max),
  );

const sentence = z.string("must be a text").trim().min(1, "must not be empty").max(400);
const name = z
  .string("must be a text")
  .regex(/^[a-z][a-z0-9-]{0,39}$/, "must be a word of small letters, digits and -");
const valueName = z.string().regex(/^[a-z][a-z0-9_]{0,39}$/, "must be a word of small letters, digits and _");
const command = z
  .string("must be a text")
  .trim()
  .min(1, "must not be empty")
  .max(commandCharsMax)
  .regex(/^[^\p{Cc}]*$/u, "must be one line without control characters");

const rule = z.strictObject({
  line: pattern.optional(),
  unless: pattern.optional(),
  when: some(condition, conditionsMax).optional(),
  at_least: z.int().min(1).max(100_000).default(1),
  tell: z.enum(["each", "first", "last"]).default("each"),
  only: z.enum(["guest_silent", "guest_answers"]).optional(),
  level: z.enum(["bad", "warning"]),
  says: sentence,
  next: sentence.optional(),
});

const ownStep = z.strictObject({
  name,
  on: z.enum(["guest", "power"]).default("guest"),
  run: some(command, waysMax),
  seconds: z.number().min(1).max(secondsMax).default(secondsDefault),
  codes: z.array(z.int().min(0).max(254)).min(1).max(20).default([0]),
  no_answer: pattern.optional(),
  optional: z.boolean().default(false),
  only: z.literal("guest_silent").optional(),
  values: z
    .record(valueName, pattern)
    .refine((values) => Object.keys(values).length <= valuesMax, `may have ${valuesMax} names at most`)
    .default({}),
  rules: z.array(rule).max(rulesMax).default([]),
});

/** A step of another Runbook, as it stands there but for these. */
const usedStep = z.strictObject({
  use: z
    .string("must be a text")
    .regex(/^[a-z][a-z0-9-]*\/[a-z][a-z0-9-]*$/, "must be like disk/space: a runbook and its step"),
  optional: z.boolean().optional(),
  only: z.literal("guest_silent").optional(),
});

const runbook = z.strictObject({
  name,
  title: z.string("must be a text").trim().min(1, "must not be empty").max(40),
  about: z.string("must be a text").trim().max(200).default(""),
  // Each is parsed by the schema that it means to fit, so that its problems are told at their own places.
  steps: z.array(z.unknown(), "must be a list of steps").min(1, "must not be empty").max(stepsMax),
  otherwise: sentence.optional(),
});

export const schemas = { runbook, ownStep, usedStep };
export type OwnStep = z.output<typeof ownStep>;
export type UsedStep = z.output<typeof usedStep>;
export type RuleText = z.output<typeof rule>;

function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, "");
}
