import type { Clock } from "../../clock.ts";
import type { TurnEnd, TurnRequest } from "../agent.ts";
import { bounded } from "./bounds.ts";
import { explainDeath, explainSilence, explainWall } from "./failures.ts";
import type { Result } from "./messages.ts";
import { translate, type Reading } from "./translate.ts";
import { watch } from "./watchdog.ts";
import type { Answered, Worker } from "./worker.ts";

export interface TurnLimits {
  /** Without a message for this long, while nothing of the Broker's runs, the process is ended. */
  readonly silenceMs: number;
  /** A Turn of this length is ended; time in which the Broker works does not count. */
  readonly turnTimeoutMs: number;
}

/** For the agent to write its memory and go; then it is killed. Of Stop nothing may be left after 50 ms. */
const graceMs = { cancel: 15, silence: 1000, wall: 1000 } as const;

export interface Played {
  readonly end: TurnEnd;
  readonly reading: Reading;
  /** Set when the process could not begin at all, and nothing was reported: another opening may help. */
  readonly notOpened?: "memory gone" | "id in use";
}

/** One prompt on one process, up to its end. Rejects only when an Event could not be reported. */
export async function playTurn(
  { clock, limits }: { readonly clock: Clock; readonly limits: TurnLimits },
  worker: Worker,
  blocks: readonly string[],
  request: Omit<TurnRequest, "prompt" | "digest" | "resume">,
  begin: Reading,
): Promise<Played> {
  let reading = begin;
  let end: TurnEnd = "failed";
  let notOpened: Played["notOpened"];
  let stop: keyof typeof graceMs | undefined;

  const watchdog = watch(
    { clock, busy: request.door.busy, silenceMs: limits.silenceMs, wallMs: limits.turnTimeoutMs },
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

  let answered: Answered;
  try {
    answered = await worker.ask(blocks, async (message) => {
      // What comes now answers the interrupt; for the Operator the Turn is over.
      if (stop !== undefined) return false;
      if (message.type === "result") {
        notOpened = unopened(message);
        if (notOpened !== undefined) return true;
      }
      const [next, said] = translate(reading, message);
      reading = next;
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
  if (answered.kind === "answered") return { end, reading, ...(notOpened && { notOpened }) };

  if (stop === undefined && /is already in use/.test(answered.stderr))
    return { end, reading, notOpened: "id in use" };
  await keepOpenText();
  if (stop === "cancel") return { end: "cancelled", reading };
  const why =
    stop === "silence"
      ? explainSilence(limits.silenceMs)
      : stop === "wall"
        ? explainWall(limits.turnTimeoutMs)
        : explainDeath(answered.exit, answered.stderr);
  await request.report({ kind: "error", error: why });
  return { end: "failed", reading };

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
