import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { encode, frameBytesMax, Frames } from "../process/frames.ts";
import { frame } from "./frames.ts";

export interface Request {
  readonly token: string;
  readonly argv: readonly string[];
  /** Stdin is a pipe or a file, neither a terminal nor /dev/null. */
  readonly hasStdin: boolean;
}

/** Why stdin could not be had whole. */
export type NotWhole = "too_long" | "no_end" | "called_off";

/** What the shim may have sent of stdin before it waits for more credit: so much is held here at most. */
const stdinWindowBytes = 256 * 1024;
/** More than this on one command's stdin ends the command. */
const stdinBytesMax = 256 * 1024 * 1024;
/** A connection that has not asked by then is closed. */
const requestMsMax = 10_000;

/** One shim on the other end of a socket. */
export class Caller {
  /** Aborted when the shim is gone, with a sentence as its reason. */
  readonly gone: AbortSignal;
  #stdinBytes = 0;
  #stdinAllowed = 0;
  #onStdin: ((chunk: Buffer | null) => void) | null = null;
  /** All of stdin, where it was read before the act. */
  #whole: Buffer | null = null;
  #asked = false;
  #answered = false;
  readonly #socket: Socket;
  readonly #request = Promise.withResolvers<Request | null>();

  constructor(socket: Socket) {
    this.#socket = socket;
    const gone = new AbortController();
    this.gone = gone.signal;
    const frames = new Frames();
    const timer = setTimeout(() => socket.destroy(), requestMsMax);
    void this.#request.promise.then(() => clearTimeout(timer));
    socket.on("data", (chunk: Buffer) => {
      if (this.#answered || frames.take(chunk, (type, payload) => this.#take(type, payload))) return;
      if (this.#asked) return this.drop();
      // Read on to its end: a shim that is still writing would lose the answer with the line. The timer bounds it.
      this.answer(
        255,
        `the command is longer than ${frameBytesMax} bytes. Nothing was run: send it as stdin instead, ssh devvm 'sh -s' < FILE`,
      );
    });
    // "close" follows, and tells all there is to tell.
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#request.resolve(null);
      gone.abort("Whoever asked went away.");
    });
  }

  /** null: it went away or spoke nonsense. */
  request(): Promise<Request | null> {
    return this.#request.promise;
  }

  /**
   * Reads stdin to its end, which is waited for as long as `msMax` and until `until` is aborted: `onStdin` then gets exactly
   * these bytes.
   */
  async wholeStdin(
    clock: Clock,
    until: AbortSignal,
    bytesMax: number,
    msMax: number,
  ): Promise<Buffer | NotWhole> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const { promise, resolve } = Promise.withResolvers<Buffer | NotWhole>();
    this.#onStdin = (chunk) => {
      if (chunk === null) return resolve(Buffer.concat(chunks));
      bytes += chunk.length;
      if (bytes > bytesMax) return resolve("too_long");
      chunks.push(chunk);
    };
    const callOff = clock.after(msMax, () => resolve("no_end"));
    const leave = () => resolve("called_off");
    until.addEventListener("abort", leave);
    if (until.aborted) leave();
    // One more than may come: without credit left the shim would not see the end.
    this.accept(bytesMax + 1);
    const whole = await promise;
    callOff();
    until.removeEventListener("abort", leave);
    this.#onStdin = () => {};
    if (typeof whole !== "string") this.#whole = whole;
    return whole;
  }

  /** From now on stdin is wanted; null is its end. Call `accept` for every byte that was passed on. */
  onStdin(listener: (chunk: Buffer | null) => void): void {
    if (this.#whole !== null) {
      if (this.#whole.length > 0) listener(this.#whole);
      return listener(null);
    }
    this.#onStdin = listener;
    this.accept(stdinWindowBytes);
  }

  accept(bytes: number): void {
    this.#stdinAllowed += bytes;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    if (this.#socket.writable) this.#socket.write(encode(frame.credit, payload));
  }

  /** Answers false when the shim does not keep up: wait for `drained` before sending more. */
  send(channel: "stdout" | "stderr", bytes: Buffer): boolean {
    return !this.#socket.writable || this.#socket.write(encode(frame[channel], bytes));
  }

  drained(callback: () => void): void {
    this.#socket.once("drain", callback);
  }

  /** Ends it: an exit code, after a sentence on stderr where there is one. */
  answer(code: number, sentence?: string): void {
    if (this.#answered || !this.#socket.writable) return;
    this.#answered = true;
    if (sentence !== undefined) this.send("stderr", Buffer.from(`breakglass: ${sentence}\n`));
    this.#socket.end(encode(frame.exit, Buffer.from([code])));
  }

  drop(): void {
    this.#socket.destroy();
  }

  #take(type: number, payload: Buffer): void {
    switch (type) {
      case frame.request: {
        const request = decodeRequest(payload);
        if (request === null) this.#socket.destroy();
        this.#asked = true;
        this.#request.resolve(request);
        return;
      }
      case frame.stdin:
        this.#stdinBytes += payload.length;
        this.#stdinAllowed -= payload.length;
        // The shim sends what it read before it saw that its credit was used up; twice the window is no shim of ours.
        if (this.#onStdin === null || this.#stdinAllowed < -stdinWindowBytes) return this.drop();
        if (this.#stdinBytes > stdinBytesMax) {
          return this.answer(
            255,
            `more than ${stdinBytesMax} bytes of stdin were sent; the command was ended. Send less at a time.`,
          );
        }
        this.#onStdin(payload);
        return;
      case frame.stdinEnd:
        this.#onStdin?.(null);
        return;
      default:
        this.drop();
    }
  }
}

function decodeRequest(payload: Buffer): Request | null {
  try {
    const value: unknown = JSON.parse(payload.toString());
    if (typeof value !== "object" || value === null) return null;
    const { token, program, argv, hasStdin } = value as Record<string, unknown>;
    // What is shown to be decided on, and what is sent, is the same only for whole characters.
    if (!Array.isArray(argv) || !argv.every((word) => typeof word === "string" && sendable(word)))
      return null;
    if (typeof token !== "string" || program !== "ssh") return null;
    return { token, argv, hasStdin: hasStdin === true };
  } catch {
    return null;
  }
}

/** No process has other words: only a forged request could hold half a character or a NUL. */
function sendable(word: string): boolean {
  return word.isWellFormed() && !word.includes("\0");
}
