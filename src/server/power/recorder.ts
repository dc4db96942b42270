import { isUuid, type OperationId } from "../../protocol/ids.ts";
import type { Clock } from "../clock.ts";
import { StoreError, type Body, type Store, type StreamName } from "../store/store.ts";
import { indexStream } from "./records.ts";
import type { Mirror } from "./spool.ts";

/** What became of a record: on disk; already there by another hand (`first`); or given up because too much waited. */
export type Recorded = "durable" | "duplicate" | "lost";

/** Records what the power path does, without ever making it wait. */
export interface Recorder {
  /**
   * Resolves when it is known what became of it, which may be never while the store hangs: race it. `first` demands
   * that the stream is empty. Appends to one stream keep their order. Never rejects.
   */
  record(
    stream: StreamName,
    body: Body,
    options?: { readonly first?: boolean; readonly spare?: boolean },
  ): Promise<Recorded>;
  /** Waits for what is not recorded yet, at most `ms`. */
  close(ms: number): Promise<void>;
}

/** Waiting in memory while the store does not answer. What comes beyond is lost, logged and shown as not durable. */
const waitingBytesMax = 8 * 1024 * 1024;
/** Output (`spare`) may fill only half of it, so that it never crowds out what was asked and how it ended. */
const spareBytesMax = waitingBytesMax / 2;
/** After a refusal of the store the same records are offered again. */
const retryMs = 2_000;

interface Waiting {
  readonly body: Body;
  readonly bytes: number;
  readonly first: boolean;
  readonly settle: (recorded: Recorded) => void;
  /** Lets the mirror of it go. */
  readonly release: (() => void) | undefined;
  /** After a failed attempt nobody knows whether it is on disk: a stream that is not empty then proves nothing. */
  tried: boolean;
}

export function createRecorder(deps: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: (text: string) => void;
  /** Holds what waits here as well, so that it is recorded at the next start if this process is killed. */
  readonly mirror?: Mirror | undefined;
}): Recorder {
  const { store, clock, log, mirror } = deps;
  const streams = new Map<StreamName, Waiting[]>();
  let waitingBytes = 0;
  let idle = Promise.withResolvers<void>();
  idle.resolve();

  /** One append in flight per stream; what has come meanwhile goes with the next. */
  async function drain(stream: StreamName, queue: Waiting[]): Promise<void> {
    while (queue.length > 0) {
      const batch = queue[0]!.first ? queue.slice(0, 1) : [...queue];
      const outcome = await append(stream, batch);
      if (outcome === "again") {
        await new Promise<void>((resolve) => clock.after(retryMs, resolve));
        continue;
      }
      queue.splice(0, batch.length);
      for (const waiting of batch) {
        waitingBytes -= waiting.bytes;
        // What is lost here is brought into the record by the next start.
        if (outcome !== "lost") waiting.release?.();
        waiting.settle(outcome);
      }
    }
    streams.delete(stream);
    if (streams.size === 0) idle.resolve();
  }

  async function append(stream: StreamName, batch: readonly Waiting[]): Promise<Recorded | "again"> {
    const [{ first, tried }] = batch as [Waiting];
    try {
      await store.append(
        stream,
        batch.map(({ body }) => body),
        first ? { expectedHead: -1 } : {},
      );
      return "durable";
    } catch (error) {
      if (!(error instanceof StoreError)) {
        // A bug of the store's must not end the process that is holding a machine's power.
        log(`power: a record of ${stream} is lost: ${String(error)}`);
        return "lost";
      }
      if (error.kind === "head_moved") return tried ? "durable" : "duplicate";
      if (error.kind === "closed") return "lost";
      if (!tried)
        log(
          `power: ${stream} could not be recorded (${error.message}); it is kept in memory and offered again`,
        );
      for (const waiting of batch) waiting.tried = true;
      return "again";
    }
  }

  return {
    record(stream, body, { first = false, spare = false } = {}) {
      const bytes = Buffer.byteLength(JSON.stringify(body));
      if (waitingBytes + bytes > (spare ? spareBytesMax : waitingBytesMax)) {
        log(
          `power: the store does not answer and too much waits for it; a record of ${stream} (${body.kind}) is lost`,
        );
        return Promise.resolve("lost");
      }
      const { promise, resolve } = Promise.withResolvers<Recorded>();
      waitingBytes += bytes;
      const id = operationOf(stream, body);
      // A line of the index is in the Operation's own stream as well.
      const release = id && mirror?.keep(id, stream === indexStream ? null : body);
      const waiting: Waiting = { body, bytes, first, settle: resolve, release, tried: false };
      const queue = streams.get(stream);
      if (queue !== undefined) queue.push(waiting);
      else {
        if (streams.size === 0) idle = Promise.withResolvers<void>();
        const begun = [waiting];
        streams.set(stream, begun);
        void drain(stream, begun);
      }
      return promise;
    },
    close(ms) {
      return Promise.race([idle.promise, new Promise<void>((resolve) => clock.after(ms, resolve))]);
    },
  };
}

function operationOf(stream: StreamName, body: Body): OperationId | undefined {
  const id = stream === indexStream ? body["operation"] : stream.split("/")[1];
  return isUuid(id) ? id : undefined;
}
