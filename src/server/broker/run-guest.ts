import type { Readable } from "node:stream";
import type { ExecSettled } from "../../protocol/events.ts";
import type { Ssh, SshExit } from "../ssh/ssh.ts";
import type { Caller } from "./caller.ts";
import type { Act } from "./decide.ts";
import type { Excerpt } from "./excerpt.ts";

export interface GuestEnd {
  readonly end: ExecSettled["end"];
  /** For the shim, once the end is on record. */
  readonly code: number;
  readonly sentence?: string;
}

/** Runs one command on a guest, bytes both ways, until it ends or the agent has gone away. */
export async function runGuest(
  {
    ssh,
    caller,
    excerpt,
    stop,
  }: { readonly ssh: Ssh; readonly caller: Caller; readonly excerpt: Excerpt; readonly stop: AbortSignal },
  { target, account, command }: Extract<Act, { kind: "guest" }>,
): Promise<GuestEnd> {
  const leave = AbortSignal.any([caller.gone, stop]);
  const started = await ssh.start(account.alias, [command], leave);
  if (started.kind === "not_sent")
    return { end: { kind: "refused", reason: started.reason }, code: 255, sentence: started.reason };
  if (leave.aborted) started.kill();
  leave.addEventListener("abort", () => started.kill());

  caller.onStdin((chunk) => {
    if (chunk === null) started.stdin.end();
    // The callback also comes when the far side wants no more: the bytes are gone then, as with a closed pipe.
    else if (started.stdin.writable) started.stdin.write(chunk, () => caller.accept(chunk.length));
    else caller.accept(chunk.length);
  });
  pass(started.stdout, "stdout", caller, excerpt);
  pass(started.stderr, "stderr", caller, excerpt);
  const exit = await started.exit;
  return ended(exit, leave.aborted, target);
}

/** What a slow agent has not taken yet stays in the pipe, and stops the command at its far end. */
function pass(from: Readable, channel: "stdout" | "stderr", caller: Caller, excerpt: Excerpt): void {
  from.on("data", (chunk: Buffer) => {
    excerpt.take(chunk);
    if (caller.send(channel, chunk)) return;
    from.pause();
    caller.drained(() => from.resume());
  });
  // Without a reader nothing may keep the command's end from being seen.
  caller.gone.addEventListener("abort", () => from.resume());
}

function ended(exit: SshExit, left: boolean, target: string): GuestEnd {
  if (left && exit.kind === "signalled") {
    // sshd passes no signal on: the command meets the end of its pipes, or never notices.
    return unknown(
      `The agent went away; the connection was closed, and the command may go on running on ${target}.`,
    );
  }
  switch (exit.kind) {
    case "exited":
      if (exit.code !== 255) return { end: exit, code: exit.code };
      return {
        end: {
          kind: "unknown",
          reason:
            "ssh answered 255: either the command did, or the connection was lost and it may go on running.",
        },
        code: 255,
      };
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
