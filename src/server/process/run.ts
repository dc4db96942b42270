import { StringDecoder } from "node:string_decoder";
import { start, type Command, type Exit } from "./start.ts";

export interface RunLimits {
  /** Kept of each channel; what comes after is counted and dropped. */
  readonly outputBytesMax: number;
  /** Then the whole group is killed; null: never. */
  readonly deadlineMs: number | null;
}

export interface Finished {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
  readonly droppedBytes: number;
  readonly deadlinePassed: boolean;
}

/** Runs a short command to its end with bounded output and time. Never rejects. */
export async function run(
  command: Command,
  limits: RunLimits,
  options: {
    readonly input?: string | Buffer;
    readonly onOutput?: (channel: "stdout" | "stderr", text: string) => void;
    /** Aborted, the whole group is killed at once. */
    readonly cancel?: AbortSignal;
  } = {},
): Promise<Finished> {
  const running = start({ ...command, stdin: options.input === undefined ? "ignore" : "pipe" });
  const stdout = new Kept(limits.outputBytesMax, (text) => options.onOutput?.("stdout", text));
  const stderr = new Kept(limits.outputBytesMax, (text) => options.onOutput?.("stderr", text));
  running.stdout.on("data", (chunk: Buffer) => stdout.take(chunk));
  running.stderr.on("data", (chunk: Buffer) => stderr.take(chunk));
  if (options.input !== undefined) running.stdin?.end(options.input);

  let deadlinePassed = false;
  const timer =
    limits.deadlineMs === null
      ? undefined
      : setTimeout(() => {
          deadlinePassed = true;
          running.abandon();
        }, limits.deadlineMs);
  const abandon = () => running.abandon();
  options.cancel?.addEventListener("abort", abandon);
  if (options.cancel?.aborted) abandon();
  const exit = await running.exit;
  options.cancel?.removeEventListener("abort", abandon);
  clearTimeout(timer);
  return {
    exit,
    stdout: stdout.text,
    stderr: stderr.text,
    droppedBytes: stdout.dropped + stderr.dropped,
    deadlinePassed,
  };
}

/** The first bytes of a channel, decoded as UTF-8 across chunk borders. */
class Kept {
  text = "";
  dropped = 0;
  #room: number;
  readonly #decoder = new StringDecoder("utf8");
  readonly #onText: (text: string) => void;

  constructor(bytesMax: number, onText: (text: string) => void) {
    this.#room = bytesMax;
    this.#onText = onText;
  }

  take(chunk: Buffer): void {
    const kept = chunk.subarray(0, this.#room);
    this.#room -= kept.length;
    this.dropped += chunk.length - kept.length;
    const text = this.#decoder.write(kept);
    if (text === "") return;
    this.text += text;
    this.#onText(text);
  }
}
