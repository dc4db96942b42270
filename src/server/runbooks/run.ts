import { within, type Clock } from "../clock.ts";
import type { Answer, Ask } from "./ask.ts";
import type { Definition, Step } from "./definition.ts";
import { match } from "./match.ts";

/** What came of one step. */
export type Asked =
  | { readonly step: Step; readonly kind: "answered"; readonly output: string; readonly at: Date }
  /** What it would have shown is not known. */
  | { readonly step: Step; readonly kind: "unanswered"; readonly reason: string }
  /** The machine has no such thing, as some have not. */
  | { readonly step: Step; readonly kind: "missing"; readonly reason: string };

export interface AllAsked {
  /** In the order of the steps. */
  readonly asked: readonly Asked[];
  /** The guest was asked, and answered nothing at all. */
  readonly guestSilent: boolean;
}

/** Steps asked at the same time; the rest wait for a place. */
const stepsAtOnceMax = 6;
/** Beyond a step's own time, for whoever ends it there; then it is left, and unanswered. */
const leaveMs = 10_000;
/** Of a reason or an output that is shown in one. */
const reasonCharsMax = 300;

/** Asks every step. Never rejects: what brings no answer says why. */
export async function askAll(
  { steps }: Definition,
  target: string,
  ask: Ask,
  clock: Clock,
): Promise<AllAsked> {
  /** Of the guest: questions put to it, those that it answered in any way, and those that it did not. */
  const guest = { asked: 0, exited: 0, silent: 0 };
  /** It has answered, or it has answered nothing of what it was asked first. */
  const firstWord = Promise.withResolvers<void>();
  const asked = new Map<Step, Asked>();

  async function askStep(step: Step): Promise<Asked> {
    let last: Asked = unanswered(step, notAsked);
    for (const command of step.ways) {
      const { on, timeoutMs } = step;
      if (on === "guest" && guest.exited === 0 && guest.asked >= stepsAtOnceMax) {
        await firstWord.promise;
        if (guest.exited === 0) break;
      }
      if (on === "guest") guest.asked++;
      const answer = await inTime(clock, timeoutMs, ask({ target, on, command, timeoutMs }));
      if (on === "guest") guest[answer.end.kind === "exited" ? "exited" : "silent"]++;
      if (guest.exited > 0 || guest.silent >= stepsAtOnceMax) firstWord.resolve();
      last = read(step, answer, clock.now());
      // A guest that answers nothing at all is not asked a second way.
      if (last.kind === "answered" || (on === "guest" && guest.exited === 0)) break;
    }
    return last;
  }

  async function askThese(these: readonly Step[]): Promise<void> {
    // The power side first: it answers also where the guest keeps everybody waiting.
    const waiting = these.toSorted((a, b) => Number(a.on === "guest") - Number(b.on === "guest"));
    const places = Array.from({ length: Math.min(stepsAtOnceMax, waiting.length) }, async () => {
      for (let step = waiting.shift(); step !== undefined; step = waiting.shift())
        asked.set(step, await askStep(step));
    });
    await Promise.all(places);
  }

  await askThese(steps.filter(({ only }) => only === null));
  const guestSilent = guest.silent > 0 && guest.exited === 0;
  if (guestSilent) await askThese(steps.filter(({ only }) => only !== null));
  return { asked: steps.flatMap((step) => asked.get(step) ?? []), guestSilent };
}

const notAsked = `It was not asked: the guest had answered none of the ${stepsAtOnceMax} questions before it.`;

async function inTime(clock: Clock, timeoutMs: number, asking: Promise<Answer>): Promise<Answer> {
  const failed = (reason: string): Answer => ({ n: -1, end: { kind: "unknown", reason }, output: "" });
  const answer = await within(
    clock,
    timeoutMs + leaveMs,
    asking.catch((error: unknown) => failed(`It could not be asked: ${String(error)}`)),
  );
  return answer ?? failed(`There was no answer within ${timeoutMs / 1000} s.`);
}

function read(step: Step, { end, output }: Answer, at: Date): Asked {
  switch (end.kind) {
    case "exited":
      return readOutput(step, end.code, output, at);
    case "refused":
      return step.optional && step.on === "power"
        ? { step, kind: "missing", reason: end.reason }
        : unanswered(step, end.reason);
    case "signalled":
      return unanswered(step, `It was ended by ${end.signal}.`);
    case "ended":
    case "unknown":
      return unanswered(step, end.reason);
  }
}

function readOutput(step: Step, code: number, output: string, at: Date): Asked {
  const empty = saysNothing(step, output);
  if (step.codes.includes(code) && !empty) return { step, kind: "answered", output, at };
  if (step.optional && (empty || code === 127 || lacking.test(output)))
    return { step, kind: "missing", reason: lastLine(output) };
  return unanswered(step, empty ? lastLine(output) : `It ended with exit code ${code}: ${lastLine(output)}`);
}

/** How programs and shells say that there is no such thing. */
const lacking =
  /No such file or directory|not found|not been booted with systemd|Failed to connect to (?:system )?bus|Operation not supported/i;

function saysNothing({ noAnswer }: Step, output: string): boolean {
  if (noAnswer === null) return false;
  const effort = { left: Infinity };
  return output
    .slice(0, noAnswerCharsMax)
    .split("\n")
    .some((line) => match(noAnswer, line, effort) !== null);
}

/** Only so much of the output is looked at for `no_answer`. */
const noAnswerCharsMax = 4_096;

function unanswered(step: Step, reason: string): Asked {
  return { step, kind: "unanswered", reason: reason.slice(0, reasonCharsMax) };
}

function lastLine(output: string): string {
  const line = output.trimEnd().split("\n").at(-1) ?? "";
  return line === "" ? "it said nothing." : line.slice(0, reasonCharsMax);
}
