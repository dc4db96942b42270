import type { ExecSettled } from "../../protocol/events.ts";
import type { OperationId } from "../../protocol/ids.ts";
import { within, type Clock } from "../clock.ts";
import type { Power } from "../power/power.ts";
import type { Ssh } from "../ssh/ssh.ts";
import type { BrokerTarget } from "./decide.ts";
import type { Execs } from "./exec.ts";
import type { Output } from "./output.ts";
import { runGuest, type GuestEnd } from "./run-guest.ts";
import type { Channel, Sink } from "./sink.ts";

/** A fixed text that an Operator has asked for: a step of a Runbook. */
export interface FixedAsk {
  readonly target: string;
  readonly on: "guest" | "power";
  /** For the guest's shell, or "status" or "forensics". */
  readonly command: string;
  /** Then it is ended. */
  readonly timeoutMs: number;
  /** The Operator, for the record. */
  readonly by: string;
  readonly signal: AbortSignal;
}

export interface FixedAnswer {
  /** Of its `exec` events. */
  readonly n: number;
  /** `refused` only where there is no such side; without an exit code of its own it is `unknown`, whatever the record says. */
  readonly end: ExecSettled["end"];
  /** At most 256 KiB. */
  readonly output: string;
}

export interface FixedDeps {
  readonly ssh: Ssh;
  readonly power: Power;
  readonly clock: Clock;
  readonly targets: readonly BrokerTarget[];
  readonly newId: () => OperationId;
  readonly execs: Execs;
  /** Ends what runs, with a sentence as its reason. */
  readonly stop: AbortSignal;
}

/** Of the output, for whoever asked; the record has its own bounds. */
const outputBytesMax = 256 * 1024;

/** Runs a fixed text on the account that owns nothing, where there is one, and records it as the Operator's. */
export async function runFixed(deps: FixedDeps, asked: FixedAsk): Promise<FixedAnswer> {
  const { targets, execs } = deps;
  const { command, by } = asked;
  const target = targets.find(({ name }) => name === asked.target);
  const memory = new Memory(asked.signal);
  const account = target?.unprivileged ?? target?.privileged ?? null;
  const stop = AbortSignal.any([asked.signal, deps.stop]);
  const sideIs = asked.on === "guest" ? account !== null : target?.power === true;
  const { n, end } = await execs.run(
    {
      target: asked.target,
      account: asked.on === "guest" ? (account?.user ?? "") : "hypervisor",
      command,
    },
    async (output) => {
      if (asked.on === "power")
        return sideIs ? askPower(deps, asked, stop, output, memory) : noSuchSide(asked);
      if (account === null) return noSuchSide(asked);
      return runGuest(
        { ...deps, sink: memory, output, stop, timeoutMs: asked.timeoutMs },
        { target: asked.target, account, command },
      );
    },
    by,
  );
  return { n, end: sideIs ? answered(end) : end, output: memory.text() };
}

function noSuchSide({ target, on }: FixedAsk): GuestEnd {
  const side = on === "guest" ? "account" : "hypervisor";
  const reason = `No ${side} is configured for ${target}. Nothing was run.`;
  return { end: { kind: "refused", reason }, code: 255 };
}

function answered(end: ExecSettled["end"]): ExecSettled["end"] {
  return end.kind === "refused" || end.kind === "ended" ? { kind: "unknown", reason: end.reason } : end;
}

async function askPower(
  { power, clock, newId }: FixedDeps,
  { target, command, timeoutMs, by }: FixedAsk,
  stop: AbortSignal,
  output: Output,
  memory: Memory,
): Promise<GuestEnd> {
  const answer = command === "forensics" ? forensics(power, newId(), target, by) : status(power, target);
  const called = Promise.withResolvers<null>();
  const callOff = () => called.resolve(null);
  stop.addEventListener("abort", callOff);
  if (stop.aborted) callOff();
  const report = await within(clock, timeoutMs, Promise.race([answer, called.promise]));
  stop.removeEventListener("abort", callOff);
  if (report === null) {
    const why = stop.aborted ? String(stop.reason) : `There was no answer within ${timeoutMs / 1_000} s.`;
    const reason = `${why} What was asked of the hypervisor changes nothing, and ends by itself.`;
    return { end: { kind: "unknown", reason }, code: 255 };
  }
  for (const channel of ["stdout", "stderr"] as const) {
    const bytes = Buffer.from(report[channel]);
    output.take(channel, bytes);
    memory.send(channel, bytes);
  }
  const code = report.exit_code;
  if (code === null) return { end: { kind: "unknown", reason: "The hypervisor gave no answer." }, code: 255 };
  return { end: { kind: "exited", code }, code };
}

interface PowerReport {
  readonly exit_code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function status(power: Power, target: string): Promise<PowerReport> {
  const report = await power.status(target);
  return "kind" in report ? { exit_code: null, stdout: "", stderr: report.kind } : report;
}

async function forensics(power: Power, key: OperationId, target: string, by: string): Promise<PowerReport> {
  const submitted = await power.submit({ target, verb: "forensics", key, by });
  if (submitted.kind !== "accepted") {
    const stderr = `forensics was not sent: ${submitted.kind.replaceAll("_", " ")}.`;
    return { exit_code: null, stdout: "", stderr };
  }
  const { exit_code = null } = await submitted.settled;
  const gathered = await power.get(key);
  return { exit_code, stdout: gathered?.output ?? "", stderr: "" };
}

/** Takes what a command says, gives it nothing to read. */
class Memory implements Sink {
  readonly gone: AbortSignal;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(gone: AbortSignal) {
    this.gone = gone;
  }

  onStdin(listener: (chunk: Buffer | null) => void): void {
    listener(null);
  }

  accept(): void {}

  send(_channel: Channel, bytes: Buffer): boolean {
    const kept = bytes.subarray(0, outputBytesMax - this.#bytes);
    // A copy: a slice would hold the whole chunk.
    if (kept.length > 0) this.#chunks.push(Buffer.from(kept));
    this.#bytes += kept.length;
    return true;
  }

  drained(): void {}

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}
