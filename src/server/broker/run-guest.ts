import type { Readable, Writable } from "node:stream";
import type { ExecSettled } from "../../protocol/events.ts";
import type { Uuid } from "../../protocol/ids.ts";
import type { Clock } from "../clock.ts";
import type { Ssh, SshExit } from "../ssh/ssh.ts";
import type { Act } from "./decide.ts";
import { endThere, marked, type EndedThere } from "./end-there.ts";
import type { Output } from "./output.ts";
import type { Channel, Sink } from "./sink.ts";

export interface GuestEnd {
  readonly end: ExecSettled["end"];
  /** For the shim, once the end is on record. */
  readonly code: number;
  readonly sentence?: string;
}

export interface RunGuestDeps {
  readonly ssh: Ssh;
  readonly clock: Clock;
  /** Of the mark by which a command is found again on its guest. */
  readonly newId: () => Uuid;
  readonly sink: Sink;
  readonly output: Output;
  /** Aborted when the command has to end, with a sentence as its reason. */
  readonly stop: AbortSignal;
  /** False: the command is given nothing to read. */
  readonly stdin?: boolean;
  /** Default `guestCommandMsMax`. */
  readonly timeoutMs?: number;
}

/** A command that runs longer is ended on its guest. */
const guestCommandMsMax = 20 * 60_000;

/**
 * Runs one command on a guest, bytes both ways. It is ended on its guest when whoever asked has gone, when it has to stop and
 * when its time is over; the end says whether it was seen gone.
 */
export async function runGuest(
  { ssh, clock, newId, sink, output, stop, stdin = true, timeoutMs = guestCommandMsMax }: RunGuestDeps,
  { target, account, command }: Pick<Extract<Act, { kind: "guest" }>, "target" | "account" | "command">,
): Promise<GuestEnd> {
  const mark = newId();
  const overdue = new AbortController();
  const callOff = clock.after(timeoutMs, () =>
    overdue.abort(`It ran longer than ${timeoutMs / 1_000} s, which is as long as it may.`),
  );
  const leave = AbortSignal.any([sink.gone, stop, overdue.signal]);
  const started = await ssh.start(account.alias, [marked(mark, command)], leave);
  if (started.kind === "not_sent") {
    callOff();
    return { end: { kind: "refused", reason: started.reason }, code: 255, sentence: started.reason };
  }
  const sent = performance.now();
  const ending: { seen: Promise<EndedThere> | null } = { seen: null };
  const end = () => {
    const sentMsAgo = performance.now() - sent;
    ending.seen ??= endThere(ssh, account, { mark, sentMsAgo, silent: output.bytes === 0 });
    started.kill();
  };
  if (leave.aborted) end();
  leave.addEventListener("abort", end);

  if (stdin) feed(started.stdin, sink);
  else started.stdin.end();
  pass(started.stdout, "stdout", sink, output);
  pass(started.stderr, "stderr", sink, output);
  const exit = await started.exit;
  callOff();
  leave.removeEventListener("abort", end);
  const byItself = exit.kind === "exited" && exit.code !== 255;
  return ending.seen === null || byItself
    ? ended(exit, target)
    : endedThere(await ending.seen, reasonOf(leave), target);
}

function feed(to: Writable, sink: Sink): void {
  sink.onStdin((chunk) => {
    if (chunk === null) to.end();
    // The callback also comes when the far side wants no more: the bytes are gone then, as with a closed pipe.
    else if (to.writable) to.write(chunk, () => sink.accept(chunk.length));
    else sink.accept(chunk.length);
  });
}

/** What a slow agent has not taken yet stays in the pipe, and stops the command at its far end. */
function pass(from: Readable, channel: Channel, sink: Sink, output: Output): void {
  from.on("data", (chunk: Buffer) => {
    output.take(channel, chunk);
    if (sink.send(channel, chunk)) return;
    from.pause();
    sink.drained(() => from.resume());
  });
  // Without a reader nothing may keep the command's end from being seen.
  sink.gone.addEventListener("abort", () => from.resume());
}

function reasonOf({ reason }: AbortSignal): string {
  return typeof reason === "string" ? reason : "It was called off.";
}

function endedThere(seen: EndedThere, why: string, target: string): GuestEnd {
  if (seen.kind === "gone") {
    const reason = `${why} The command was ended, and nothing of it is left on ${target}.`;
    return { end: { kind: "ended", reason }, code: 255, sentence: reason };
  }
  return unknown(
    `${why} The connection was closed. ${seen.because} The command may go on running on ${target}.`,
  );
}

function ended(exit: SshExit, target: string): GuestEnd {
  switch (exit.kind) {
    case "exited":
      if (exit.code !== 255) return { end: exit, code: exit.code };
      return unknown(
        `ssh answered 255: either the command did, or a signal ended it, or the connection was lost and it may go on running on ${target}.`,
      );
    case "signalled":
      return unknown(
        `The ssh client was ended by ${exit.signal}; the command may go on running on ${target}.`,
      );
    case "not_sent":
      return { end: { kind: "refused", reason: exit.reason }, code: 255, sentence: exit.reason };
  }
}

function unknown(reason: string): GuestEnd {
  return { end: { kind: "unknown", reason }, code: 255, sentence: reason };
}
