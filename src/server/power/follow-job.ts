import type { OperationId } from "../../protocol/ids.ts";
import type { HostReport, HostResult } from "../../protocol/outcome.ts";
import type { Clock } from "../clock.ts";
import type { Ssh, SshFinished } from "../ssh/ssh.ts";
import type { Hear } from "./hypervisor.ts";
import { StepReader } from "./steps.ts";

export interface JobLine {
  readonly ssh: Pick<Ssh, "run">;
  readonly clock: Clock;
  readonly alias: string;
  readonly job: OperationId;
  readonly hear: Hear;
  /** Milliseconds on a clock that nobody sets. */
  readonly monotonic?: () => number;
}

/** How a Job begins for us: sent now, or known from before. */
export type Sending =
  | {
      readonly words: readonly string[];
      /** Milliseconds from now within which the same id may be sent once more, when the host never got it. */
      readonly resendMs: number;
    }
  | { readonly askedAt: Date };

/** A healthy host has said its first line by then; later the same Job is asked for over a fresh connection. */
const firstStepMs = 3_000;
/** One call; then the Job is attached to anew. */
const callMsMax = 10 * 60_000;
/** Past this nobody asks any more, and what is not known stays unknown. The Job goes on. */
const followMsMax = 60 * 60_000;
/** Between two questions while the hypervisor cannot be reached: the first at once, the last again and again. */
const pausesMs = [0, 500, 1_000, 2_000, 5_000] as const;
/** Kept of one call's output on its way, more than a Job with all its evidence ever says; then it is attached to anew. */
const outputBytesMax = 2 * 1024 * 1024;
/** What was sent and never answered may arrive so much later: only then is "no such Job arrived" the last word. */
const onItsWayMsMax = 60_000;
/** Two clocks are compared in whole seconds. */
const journalSlackSeconds = 2;

/**
 * Follows one Job until its end is known, over as many connections as it takes. A lost line is never an end: the host is
 * asked what became of the Job. Only when it says that no such Job ever arrived, and would know, is the same id sent
 * once more; the host gives one Job for one id. That it never arrived is believed when nothing can be on its way any more.
 */
export async function followJob(line: JobLine, sending: Sending): Promise<HostReport> {
  const { ssh, clock, alias, job, hear, monotonic = () => performance.now() } = line;
  // Of a Job from before, its age by our own calendar is the best that is known.
  const begun = monotonic() - ("words" in sending ? 0 : clock.now().getTime() - sending.askedAt.getTime());
  const askingSince = monotonic();
  const heard = new Heard(hear);
  let mayResend = "words" in sending;
  let sentAt = begun;
  let words = "words" in sending ? sending.words : attachWords(job, 0);
  let failures = 0;

  for (let calls = 1; ; calls++) {
    const next = heard.begin();
    const end = await ssh.run(alias, words, {
      outputBytesMax,
      deadlineMs: callMsMax,
      silenceMsMax: firstStepMs,
      urgent: true,
      onOutput: (channel, text) => channel === "stdout" && heard.take(text),
    });
    const { exit } = end;
    if (heard.result !== undefined) return known(heard.said, heard.result, end.stderr);
    if (exit.kind === "not_sent" && calls === 1 && "words" in sending) return neverSent(exit.reason);
    if (exit.kind === "not_sent" && exit.cause === "closed") return unknown(heard.said, exit.reason);
    if (heard.absent !== null) {
      if (next > 0 || !wouldKnow(heard.absent, monotonic() - begun))
        return unknown(heard.said, journalTooYoung);
      if ("words" in sending && mayResend && monotonic() - begun <= sending.resendMs) {
        mayResend = false;
        sentAt = monotonic();
        words = sending.words;
        continue;
      }
      if (monotonic() - sentAt > onItsWayMsMax) return known("", { ...heard.absent, text: neverArrived }, "");
    } else if (heard.next === 0 && !isLost(end)) return foreign(end);
    if (monotonic() - askingSince > followMsMax) return unknown(heard.said, neverAnswered);
    if (calls === 1 && "words" in sending) hear.output(lineLost);
    failures = heard.next > next ? 0 : failures + 1;
    words = attachWords(job, heard.next);
    await pause(clock, pausesMs[Math.min(failures, pausesMs.length - 1)]!);
  }
}

/** What one Job has said so far, over all connections. */
class Heard {
  /** Without the evidence, which is told apart. */
  said = "";
  result: HostResult | undefined;
  /** "No such Job arrived here": an answer of the host's, and no Step of the Job's. */
  absent: HostResult | null = null;
  readonly #reader = new StepReader();
  readonly #hear: Hear;

  constructor(hear: Hear) {
    this.#hear = hear;
  }

  get next(): number {
    return this.#reader.next;
  }

  /** A new call begins; answers the Step that is next. */
  begin(): number {
    this.absent = null;
    this.#reader.lost();
    return this.#reader.next;
  }

  take(chunk: string): void {
    for (const step of this.#reader.take(chunk)) {
      if (step.result?.result === "absent") {
        this.absent = step.result;
        continue;
      }
      this.result = step.result;
      if (step.evidence !== undefined) this.#hear.evidence(step.evidence);
      else this.said += step.text + step.line;
      if (step.text !== "") this.#hear.output(step.text);
    }
  }
}

/** From the last Step that was heard, so that a well line answers at once, also while the Job has nothing new to say. */
const attachWords = (job: OperationId, next: number) => ["v2", "attach", job, String(Math.max(0, next - 1))];

/** Not the far side's own end: the transport's, or ours. */
function isLost({ exit, deadlinePassed, droppedBytes }: SshFinished): boolean {
  // ssh itself answers 255, and the host's own grammar has no 255.
  return deadlinePassed || droppedBytes > 0 || exit.kind !== "exited" || exit.code === 255;
}

/** Whether the host has kept its journal since before it was asked first, `ageMs` ago. */
function wouldKnow({ journal_seconds = 0 }: HostResult, ageMs: number): boolean {
  return journal_seconds > ageMs / 1000 + journalSlackSeconds;
}

function known(said: string, result: HostResult, stderr: string): HostReport {
  return { exit_code: result.code ?? null, stdout: said || `BG1 ${JSON.stringify(result)}\n`, stderr };
}

function neverSent(reason: string): HostReport {
  return { exit_code: null, stdout: "", stderr: `${reason}\n`, sent: false };
}

function unknown(said: string, sentence: string): HostReport {
  return { exit_code: null, stdout: said, stderr: `${sentence}\n` };
}

/** Something answered that is not our forced command: its words and its code are all there is. */
function foreign({ exit, stdout, stderr }: SshFinished): HostReport {
  const code = exit.kind === "exited" ? exit.code : null;
  return {
    exit_code: code === 2 ? 2 : null,
    stdout,
    stderr: withSentence(
      stderr,
      `The hypervisor answered ${code ?? "nothing"} and not in the words of breakglass-host: is it installed there, in this version? See docs/runbook.md.`,
    ),
  };
}

/** What the other side said, and a line of our own behind it. */
export function withSentence(said: string, sentence: string): string {
  return `${said}${said === "" || said.endsWith("\n") ? "" : "\n"}${sentence}\n`;
}

const lineLost =
  "[The line to the hypervisor broke. What was begun there goes on; asking what became of it.]\n";
const neverArrived = "The hypervisor never got it: nothing was done. Ask for status, then decide again.";
const journalTooYoung =
  "The hypervisor does not know of it, and it has restarted since, or lost its journal: it may have been carried out. Ask for status before you act again.";
const neverAnswered =
  "The hypervisor could not be asked what became of it; it may have been carried out. Ask for status before you act again.";

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
