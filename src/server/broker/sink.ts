/** Where the bytes of a running command come from and go to: an agent's shim (caller.ts), or memory (fixed.ts). */
export interface Sink {
  /** Aborted when nobody is there any more, with a sentence as its reason. */
  readonly gone: AbortSignal;
  /** From now on stdin is wanted; null is its end. */
  onStdin(listener: (chunk: Buffer | null) => void): void;
  /** So many bytes of stdin were passed on. */
  accept(bytes: number): void;
  /** Answers false when it does not keep up: wait for `drained` before sending more. */
  send(channel: Channel, bytes: Buffer): boolean;
  drained(callback: () => void): void;
}

export type Channel = "stdout" | "stderr";
