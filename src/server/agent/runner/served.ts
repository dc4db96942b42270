import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { openServedDoor, type ServedDoor } from "./served-door.ts";
import type { Cage, End, Runner } from "./runner.ts";
import {
  decodeOrder,
  decodePark,
  encode,
  encodeJson,
  frame,
  Frames,
  trialSession,
  type Welcome,
  type WireExit,
  type WireOrder,
} from "./wire.ts";

/** One more is closed unheard: each cage has its own and up to 128 that relay knocks. */
const connectionsMax = 2_048;
/** One more cage is refused with a sentence. Each is an agent of 270 MB. */
const cagesMax = 32;
/** A connection that has not said by then what it is for is closed. */
const firstFrameMsMax = 10_000;

export interface ServedRunner {
  readonly server: Server;
  /** No agent lives, and none begins. */
  empty(): boolean;
  /** Ends every cage, then the listening. */
  close(): Promise<void>;
}

/** The runner's end: holds cages for a server, and ends each when its connection drops. */
export function serveRunner(deps: {
  readonly runner: Runner;
  readonly welcome: Welcome;
  /** After a cage is gone and no other lives. */
  readonly onEmpty?: () => void;
  readonly log: (text: string) => void;
}): ServedRunner {
  const { runner, welcome, onEmpty, log } = deps;
  const doors = new Map<string, ServedDoor>();
  const cages = new Map<string, Promise<Cage>>();
  const lines = new Set<Socket>();
  const server = createServer({ allowHalfOpen: false }, (line) => {
    lines.add(line);
    line.on("error", () => {});
    line.on("close", () => lines.delete(line));
    hearFirst(line);
  });
  server.maxConnections = connectionsMax;
  return {
    server,
    empty: () => cages.size === 0,
    async close() {
      server.close();
      for (const line of lines) line.destroy();
      const end = (cage: Cage) => cage.kill();
      // One that could not be started has been told of.
      await Promise.all([...cages.values()].map((cage) => cage.then(end, () => {})));
    },
  };

  function hearFirst(line: Socket): void {
    const frames = new Frames();
    const timer = setTimeout(() => line.destroy(), firstFrameMsMax);
    line.on("close", () => clearTimeout(timer));
    let heard = take;
    line.on("data", hear);

    function hear(chunk: Buffer): void {
      if (!frames.take(chunk, (type, payload) => heard(type, payload))) line.destroy();
    }

    function take(type: number, payload: Buffer): void {
      clearTimeout(timer);
      heard = () => line.destroy();
      if (type === frame.hello) return void line.write(encodeJson(frame.welcome, welcome));
      if (type === frame.park) {
        const door = doors.get(decodePark(payload)?.cage ?? "");
        line.off("data", hear);
        return door === undefined ? void line.destroy() : door.park(line);
      }
      const order = type === frame.start ? decodeOrder(payload) : null;
      if (order === null) return void line.destroy();
      heard = holdCage(line, order);
    }
  }

  /** Answers who takes the frames that follow. */
  function holdCage(line: Socket, order: WireOrder): (type: number, payload: Buffer) => void {
    const early: (readonly [number, Buffer])[] = [];
    let take: ((type: number, payload: Buffer) => void) | undefined;
    const opening = open(line, order);
    opening.then(
      (cage) => {
        cages.set(order.cage, Promise.resolve(cage));
        take = obey(line, cage);
        for (const [type, payload] of early.splice(0)) take(type, payload);
      },
      (error: unknown) => {
        log(`a cage for session ${order.session} could not be started: ${String(error)}`);
        forget(order);
        tell(line, { kind: "not_started", reason: error instanceof Error ? error.message : String(error) });
      },
    );
    cages.set(order.cage, opening);
    return (type, payload) => (take === undefined ? void early.push([type, payload]) : take(type, payload));
  }

  async function open(line: Socket, order: WireOrder): Promise<Cage> {
    if (cages.size >= cagesMax) throw new Error(`it holds ${cagesMax} agents already.`);
    const socketPath = join(welcome.doorsDir, order.session);
    const door = await openServedDoor(socketPath);
    doors.set(order.cage, door);
    const { executable, binDir } = welcome;
    const { session, args, env } = order;
    const cage = runner.start({ session, executable, args, env, door: { socketPath, binDir } });
    // The line is its life. It may have dropped while the door was opened.
    line.on("close", () => void cage.kill());
    if (line.destroyed) void cage.kill();
    line.write(encode(frame.started));
    for (const channel of ["stdout", "stderr"] as const) {
      const stream = cage.running[channel];
      stream.on("data", (bytes: Buffer) => {
        if (line.destroyed || line.write(encode(frame[channel], bytes))) return;
        stream.pause();
        line.once("drain", () => stream.resume());
        line.once("close", () => stream.resume());
      });
    }
    const { stdout, stderr, exit } = cage.running;
    // Its last words first: they may still be on their way when it has gone.
    void Promise.all([exit, ended(stdout), ended(stderr)]).then(async ([end]) => {
      await cage.kill();
      forget(order);
      tell(line, end.kind === "not_started" ? { kind: "not_started", reason: end.error.message } : seen(end));
    });
    return cage;
  }

  function forget(order: WireOrder): void {
    doors.get(order.cage)?.close();
    doors.delete(order.cage);
    cages.delete(order.cage);
    if (order.session === trialSession)
      rmSync(join(welcome.sessionsDir, trialSession), { recursive: true, force: true });
    if (cages.size === 0) onEmpty?.();
  }
}

function obey(line: Socket, cage: Cage): (type: number, payload: Buffer) => void {
  const { stdin } = cage.running;
  return (type, payload) => {
    if (type === frame.stdin) stdin.write(payload, () => line.writable && line.write(encode(frame.taken)));
    else if (type === frame.stdinEnd) stdin.end();
    else if (type === frame.kill) void cage.kill();
    else if (type === frame.sweep) void sweep();
    else line.destroy();
  };

  async function sweep(): Promise<void> {
    const clean = await cage.sweep();
    if (line.writable) line.write(encode(frame.swept, Buffer.from([clean ? 1 : 0])));
  }
}

/** Resolves when all of it was read, or nothing more can be. */
function ended(stream: Readable): Promise<void> {
  return finished(stream).catch(() => {});
}

const seen = (end: Exclude<End, { kind: "not_started" }>): WireExit =>
  end.kind === "lost" ? { kind: "not_started", reason: end.reason } : end;

function tell(line: Socket, exit: WireExit): void {
  if (line.writable) line.end(encodeJson(frame.exit, exit));
}
