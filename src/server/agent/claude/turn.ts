import type { Clock } from "../../clock.ts";
import type { TurnEnd, TurnRequest } from "../agent.ts";
import type { ModelSign } from "../model.ts";
import { bounded } from "./bounds.ts";
import { explainDeath, explainOutput, explainSilence, explainWall, fellSilent, signOf } from "./failures.ts";
import type { Message, Result } from "./messages.ts";
import { translate, type Reading } from "./translate.ts";
import { watch } from "./watchdog.ts";
import type { Answered, Worker } from "./worker.ts";

export interface TurnLimits {
  /** Without a message for this long the process is ended; time in which the Broker works or a person decides does not count. */
  readonly silenceMs: number;
  /** A Turn of this length is ended; time in which a person decides does not count. */
  readonly turnTimeoutMs: number;
  /** A Turn in which the model writes more than this many characters, thoughts and inputs of tools included, is ended. */
  readonly outputCharsMax: number;
}

export interface TurnDeps {
  readonly clock: Clock;
  readonly limits: TurnLimits;
  /** Told what the Turn sees of the model. */
  readonly onModel: (sign: ModelSign) => void;
}

/** For the agent to write its memory and go; then it is killed. Of Stop nothing may be left after 50 ms. */
const graceMs = { cancel: 15, silence: 1000, wall: 1000, output: 1000 } as const;

export interface Played {
  readonly end: TurnEnd;
  readonly reading: Reading;
  /** The process was told to end, by Stop or a limit: it takes no further prompt. */
  readonly stopped: boolean;
  /** Set when the process could not begin at all, and nothing was reported: another opening may help. */
  readonly notOpened?: "memory gone" | "id in use";
}

/** One prompt on one process, up to its end. Rejects only when an Event could not be reported. */
export async function playTurn(
  { clock, limits, onModel }: TurnDeps,
  worker: Worker,
  blocks: readonly string[],
  request: Omit<TurnRequest, "prompt" | "digest" | "resume">,
  begin: Reading,
): Promise<Played> {
  let reading = begin;
  let end: TurnEnd = "failed";
  let notOpened: Played["notOpened"];
  let stop: keyof typeof graceMs | undefined;

  /** Of the model's, in this Turn. */
  let chars = 0;
  /** The last that came leaves the next word to the model, not to a tool. */
  let modelsWord = false;

  const { busy, waiting } = request.door;
  const watchdog = watch(
    { clock, busy, waiting, silenceMs: limits.silenceMs, wallMs: limits.turnTimeoutMs },
    (limit) => void endFor(limit),
  );
  const cancel = () => void endFor("cancel");
  request.signal.addEventListener("abort", cancel, { once: true });
  if (request.signal.aborted) cancel();

  async function endFor(reason: keyof typeof graceMs): Promise<void> {
    if (stop === undefined || reason === "cancel") stop = reason;
    const callOff = clock.after(graceMs[reason], () => void worker.cage.kill());
    try {
      await worker.interrupt();
      await worker.finish();
    } catch {
      // It is gone, or cannot be asked any more: the same as not answering.
      await worker.cage.kill();
    }
    callOff();
  }

  if (begin.costUsd === null) void askSpent();

  let answered: Answered;
  try {
    answered = await worker.ask(request.turn, blocks, async (message) => {
      // What comes now answers the interrupt; for the Operator the Turn is over.
      if (stop !== undefined) return false;
      if (message.type === "result") {
        notOpened = unopened(message);
        if (notOpened !== undefined) return true;
      }
      const [next, said] = translate(reading, message);
      reading = next;
      hearModel(message);
      for (const news of said.news) request.show(news);
      for (const event of said.events) await request.report(event);
      watchdog.heard();
      if (said.end !== undefined) end = said.end;
      return said.end !== undefined;
    });
  } finally {
    watchdog.stop();
    request.signal.removeEventListener("abort", cancel);
  }
  const stopped = stop !== undefined;
  if (answered.kind === "answered") return { end, reading, stopped, ...(notOpened && { notOpened }) };

  if (stop === undefined && /is already in use/.test(answered.stderr))
    return { end, reading, stopped, notOpened: "id in use" };
  await keepOpenText();
  if (stop === "cancel") return { end: "cancelled", reading, stopped };
  if (stop === "silence" && modelsWord) onModel(fellSilent);
  await request.report({ kind: "error", error: explain(answered) });
  return { end: "failed", reading, stopped };

  /** Asked before the prompt, and not waited for: an agent that cannot resume never answers. */
  async function askSpent(): Promise<void> {
    const spent = await worker.spentUsd();
    if (spent !== undefined && reading.costUsd === null) reading = { ...reading, costUsd: spent };
  }

  function hearModel(message: Message): void {
    if (message.type === "message_start") onModel({ kind: "answered" });
    if (message.type !== "noise") modelsWord = message.type !== "assistant";
    if (message.type === "text_delta") chars += message.text.length;
    if (message.type === "unshown_delta") chars += message.chars;
    if (chars > limits.outputCharsMax) void endFor("output");
    const sign = message.type === "result" ? signOf(message) : null;
    if (sign !== null) onModel(sign);
  }

  function explain({ exit, stderr }: Extract<Answered, { kind: "died" }>): string {
    switch (stop) {
      case "silence":
        return explainSilence(limits.silenceMs);
      case "wall":
        return explainWall(limits.turnTimeoutMs);
      case "output":
        return explainOutput(limits.outputCharsMax);
      default:
        return explainDeath(exit, stderr);
    }
  }

  /** What the Operator has seen of an unfinished block stays. */
  async function keepOpenText(): Promise<void> {
    const { text } = bounded(reading.open);
    reading = { ...reading, open: "" };
    if (text.trim() !== "") await request.report({ kind: "text", text });
  }
}

function unopened(result: Result): Played["notOpened"] {
  return result.isError && /^No conversation found/m.test(result.text) ? "memory gone" : undefined;
}
