import type { ExecSettled, ExecStarted } from "../../protocol/events.ts";
import type { SessionId } from "../../protocol/ids.ts";
import { wholeEnd } from "./excerpt.ts";
import { KeptOutputs, type KeptDeps } from "./kept.ts";
import { Output } from "./output.ts";
import type { GuestEnd } from "./run-guest.ts";

/** What is about to run, where, and as whom. */
export type Exec = Pick<ExecStarted, "target" | "account" | "command" | "approval">;

type ExecsDeps = KeptDeps;

interface ExecsSession {
  readonly id: SessionId;
  /** `by` is the actor, by default the agent. */
  readonly record: (event: ExecStarted | ExecSettled, by?: string) => Promise<void>;
  readonly nextExec?: number;
}

/** Refused requests on record in one Turn; further ones are answered only, and the record says so once. */
const refusedRecordedMax = 200;
/** Of a command on record, which is as much as Ssh sends; of a longer one its beginning stands there with its length. */
const commandBytesMax = 100 * 1024;
/** The same where nothing was run, for everything that the agent chose the words of. */
const refusedBytesMax = 8 * 1024;
/** What is not on record by then is not run. */
const recordMsMax = 10_000;

/** What runs in one Session, on record: started before the act, settled after it. */
export class Execs {
  #next: number;
  /** In this Turn. */
  #refused = 0;
  readonly #deps: ExecsDeps;
  readonly #session: ExecsSession;
  readonly #kept: KeptOutputs;

  constructor(deps: ExecsDeps, session: ExecsSession) {
    this.#deps = deps;
    this.#session = session;
    this.#next = session.nextExec ?? 0;
    this.#kept = new KeptOutputs(deps, session.id);
  }

  beginTurn(): void {
    this.#refused = 0;
  }

  /** Resolves when the end is on record; without a record of the beginning nothing is run. `n` is that of its Events. */
  async run(
    what: Exec,
    act: (output: Output) => Promise<GuestEnd>,
    by?: string,
  ): Promise<GuestEnd & { readonly n: number }> {
    const facts = {
      kind: "exec",
      n: this.#next++,
      ...what,
      command: cut(what.command, commandBytesMax),
    } as const;
    const notRun = { kind: "refused", reason: "It could not be recorded in time, and was not run." } as const;
    const { n } = facts;
    const output = this.#output(n);
    const started = this.#session.record({ ...facts, phase: "started" }, by);
    if (!(await this.inTime(started))) {
      // Should it come to the record after all, its end comes too.
      void started.then(() => this.#settle(facts, notRun, 0, output, by)).catch(() => {});
      const sentence =
        "this could not be recorded, so that it was not run. Tell the operator: the record's disk does not answer.";
      return { n, end: notRun, code: 255, sentence };
    }
    const begun = performance.now();
    const end = await act(output);
    await this.#settle(facts, end.end, Math.round(performance.now() - begun), output, by);
    return { n, ...end };
  }

  /** What was asked and not run. */
  async refused({ target, account, command }: Exec, sentence: string): Promise<void> {
    if (this.#refused > refusedRecordedMax) return;
    const last = this.#refused++ === refusedRecordedMax;
    const short = (text: string) => cut(text, refusedBytesMax);
    const facts = {
      kind: "exec",
      n: this.#next++,
      target: short(target),
      account: short(account),
      command: short(command),
    } as const;
    const reason = last
      ? `${short(sentence)} ${refusedRecordedMax} requests were refused before it in this turn: further ones are answered, but not recorded one by one.`
      : short(sentence);
    await this.#settle(facts, { kind: "refused", reason }, 0, this.#output(facts.n));
  }

  #output(n: number): Output {
    return new Output(this.#kept.of(n), `/api/session/${this.#session.id}/exec/${n}`);
  }

  /** False when it was refused or took too long. */
  async inTime(recording: Promise<void>): Promise<boolean> {
    const late = Promise.withResolvers<boolean>();
    const callOff = this.#deps.clock.after(recordMsMax, () => late.resolve(false));
    const recorded = recording.then(
      () => true,
      (error: unknown) => {
        this.#deps.log(
          `broker: an event of session ${this.#session.id} could not be recorded: ${String(error)}`,
        );
        return false;
      },
    );
    const inTime = await Promise.race([recorded, late.promise]);
    callOff();
    return inTime;
  }

  async #settle(
    facts: Omit<ExecStarted, "phase">,
    end: ExecSettled["end"],
    duration_ms: number,
    output: Output,
    by?: string,
  ): Promise<void> {
    const settled = this.#session.record(
      { ...facts, phase: "settled", end, duration_ms, ...(await output.end()) },
      by,
    );
    if (!(await this.inTime(settled)))
      this.#deps.log(
        `broker: the end of exec ${facts.n} of session ${this.#session.id} could not be recorded`,
      );
  }
}

function cut(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return text;
  return `${wholeEnd(bytes.subarray(0, bytesMax)).toString()}\n[cut: ${bytes.length} bytes in all]`;
}
