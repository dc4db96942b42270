import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { guardLines } from "./lines.ts";
import { openParking } from "./parking.ts";
import type { Cage, End, Order } from "./runner.ts";
import { decodeExit, encode, encodeJson, frame, Frames, pieceBytesMax, type WireOrder } from "./wire.ts";

/** To have ended all of it, or to have swept it; its own bound is 1 s. A runner that takes longer hangs. */
const answerMsMax = 5_000;

/** A cage that a runner holds for us. Its connection is its life. */
export function remoteCage(deps: {
  readonly order: Order;
  readonly name: string;
  readonly dial: () => Socket;
  readonly onHung: (() => Promise<void>) | undefined;
}): Cage {
  const { order, name, dial, onHung } = deps;
  const cage = randomUUID();
  const line = dial();
  const frames = new Frames();
  const parking = openParking({ cage, dial, doorPath: order.door.socketPath });
  const exit = Promise.withResolvers<End>();
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const stdin = pieces(line);
  let swept: ((clean: boolean) => void)[] = [];
  let killed: Promise<void> | undefined;
  let ended: End | undefined;
  let trouble = "";

  const asked: WireOrder = { cage, session: order.session, args: [...order.args], env: order.env };
  line.write(encodeJson(frame.start, asked));
  line.on("error", (error) => (trouble = ` (${error.message})`));
  line.on("data", (chunk: Buffer) => {
    if (!frames.take(chunk, take)) line.destroy();
  });
  line.on("close", () =>
    settle({ kind: "lost", reason: `${name} went away${trouble}; what it ran ended with it` }),
  );

  const kill = () => (killed ??= killAll());
  return {
    running: {
      stdin: stdin.stream,
      stdout: guardLines(stdout, { first: () => {}, tooLong: () => void kill() }),
      stderr,
      exit: exit.promise,
    },
    sweep() {
      if (ended !== undefined) return Promise.resolve(true);
      return new Promise<boolean>((resolve) => {
        // Not swept in time: the caller kills it.
        setTimeout(() => resolve(false), answerMsMax).unref();
        swept.push(resolve);
        line.write(encode(frame.sweep));
      });
    },
    kill,
  };

  function take(type: number, payload: Buffer): void {
    switch (type) {
      case frame.started:
        return parking.open();
      case frame.taken:
        return stdin.taken();
      case frame.stdout:
        return hand(stdout, payload);
      case frame.stderr:
        return hand(stderr, payload);
      case frame.swept:
        return swept.shift()?.(payload[0] === 1);
      case frame.exit: {
        const told = decodeExit(payload);
        if (told === null) return void line.destroy();
        if (told.kind === "not_started")
          return settle({ kind: "not_started", error: new Error(told.reason) });
        if (told.kind === "exited") return settle(told);
        return settle({ kind: "signalled", signal: told.signal as NodeJS.Signals });
      }
      default:
        line.destroy();
    }
  }

  /** Who does not read holds the line back, unless all that is still wanted of it is its end. */
  function hand(to: PassThrough, bytes: Buffer): void {
    if (killed !== undefined || ended !== undefined || to.write(bytes)) return;
    line.pause();
    to.once("drain", () => line.resume());
  }

  function settle(end: End): void {
    if (ended !== undefined) return;
    ended = end;
    parking.close();
    line.destroy();
    stdin.stream.destroy();
    stdin.taken();
    for (const resolve of swept) resolve(true);
    swept = [];
    stdout.end();
    stderr.end();
    exit.resolve(end);
  }

  async function killAll(): Promise<void> {
    if (ended !== undefined) return;
    line.resume();
    line.write(encode(frame.kill));
    const timer = setTimeout(() => {
      // It ends the cage when it sees the line drop, if it ever looks again.
      void (onHung?.() ?? Promise.resolve()).finally(() =>
        settle({
          kind: "lost",
          reason: `${name} did not say within ${answerMsMax / 1_000} s that all of it had ended`,
        }),
      );
    }, answerMsMax);
    await exit.promise;
    clearTimeout(timer);
  }
}

/** One chunk at a time: the next when the agent has taken this one. So a paused agent never keeps the line from being read. */
function pieces(line: Socket): { readonly stream: Writable; taken(): void } {
  let left = 0;
  let done: (() => void) | undefined;
  const taken = () => {
    if (--left > 0) return;
    const callback = done;
    done = undefined;
    callback?.();
  };
  const stream = new Writable({
    write(chunk: Buffer, _, callback) {
      done = callback;
      left = Math.ceil(chunk.length / pieceBytesMax);
      if (left === 0) return taken();
      for (let at = 0; at < chunk.length; at += pieceBytesMax)
        line.write(encode(frame.stdin, chunk.subarray(at, at + pieceBytesMax)));
    },
    final(callback) {
      line.write(encode(frame.stdinEnd));
      callback();
    },
  });
  // What is written to an agent that has gone goes nowhere; its exit tells what happened.
  stream.on("error", () => {});
  return { stream, taken };
}
