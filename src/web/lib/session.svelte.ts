import type { ConsoleNow, EventsPage, ModeNow, Operation } from "../../protocol/api.ts";
import { decodeEvent } from "../../protocol/decode.ts";
import type { Ephemeral, StoredEvent } from "../../protocol/events.ts";
import type { SessionId } from "../../protocol/ids.ts";
import type { TargetStatus } from "../../protocol/targets.ts";
import { emptyTranscript, reduceAll, type Transcript } from "../../protocol/transcript.ts";
import { ask } from "./ask.ts";
import { Link } from "./link.svelte.ts";
import { LiveText } from "./live-text.ts";

export interface OperationFrame {
  readonly operation: Operation;
  readonly output?: { readonly from: number; readonly text: string };
}

interface Upward {
  readonly targets: (targets: readonly TargetStatus[]) => void;
  readonly operation: (frame: OperationFrame) => void;
  readonly console: (now: ConsoleNow) => void;
  readonly events: (events: readonly StoredEvent[]) => void;
  readonly caughtUp: () => void;
  readonly refused: () => void;
  readonly ended: (detail: string) => void;
}

/** The newest Events that a page begins with; older ones come by "Load earlier". */
const tailEvents = 400;
const earlierEvents = 200;
/** Beyond this many held Events the older half is let go; "Load earlier" brings it back. */
const heldEventsMax = 20_000;
/** A hidden page paints nothing; its Events are folded this often, so that they do not pile up. */
const hiddenFoldMs = 1000;

/** One Session, attached: its Events folded into a Transcript, and what is live beside them. */
export class AttachedSession {
  transcript = $state.raw<Transcript>(emptyTranscript);
  /** Text of the blocks that are being written now; the stored Event supersedes it. */
  live = $state.raw<readonly string[]>([]);
  activity = $state<string | null>(null);
  /** null until the server has said it. */
  mode = $state.raw<ModeNow | null>(null);
  /** False until the replay after the first attach has ended. */
  caughtUp = $state(false);
  earlier = $state<"none" | "some" | "loading" | "failed">("none");
  running = $derived(this.transcript.running);
  readonly id: SessionId;
  readonly link: Link;

  #events: StoredEvent[] = [];
  #lastSeen = -1;
  #queue: (StoredEvent | Ephemeral)[] = [];
  #live = new LiveText();
  #scheduled = false;
  #upward: Upward;

  constructor(id: SessionId, upward: Upward) {
    this.id = id;
    this.#upward = upward;
    this.link = new Link({
      path: () => this.#path(),
      event: (id, data) => this.#hear(id, data),
      refused: upward.refused,
      ended: upward.ended,
      named: {
        "caught-up": () => {
          this.#fold();
          this.caughtUp = true;
          upward.caughtUp();
        },
        reset: () => this.#reset(),
        delta: (data) => this.#later({ ...JSON.parse(data), name: "delta" } as Ephemeral),
        activity: (data) => this.#later({ ...JSON.parse(data), name: "activity" } as Ephemeral),
        targets: (data) => upward.targets(JSON.parse(data) as readonly TargetStatus[]),
        mode: (data) => (this.mode = JSON.parse(data) as ModeNow),
        console: (data) => upward.console(JSON.parse(data) as ConsoleNow),
        operation: (data) => upward.operation(JSON.parse(data) as OperationFrame),
      },
    });
  }

  close(): void {
    this.link.close();
  }

  async loadEarlier(): Promise<void> {
    const first = this.#events[0];
    if (first === undefined || this.earlier === "loading") return;
    this.earlier = "loading";
    const answer = await ask<EventsPage>(
      "GET",
      `/api/session/${this.id}/events?before=${first.id}&limit=${earlierEvents}`,
    );
    if (answer.kind !== "ok") {
      this.earlier = "failed";
      return;
    }
    this.#events = [...readable(answer.value.events).filter((event) => event.id < first.id), ...this.#events];
    this.transcript = reduceAll(emptyTranscript, this.#events);
    this.earlier = answer.value.more ? "some" : "none";
  }

  #path(): string {
    const from = this.#lastSeen < 0 ? `tail=${tailEvents}` : `last_event_id=${this.#lastSeen}`;
    return `/api/session/${this.id}/stream?${from}&watch=1`;
  }

  #hear(id: number, data: string): void {
    if (id <= this.#lastSeen) return;
    this.#lastSeen = id;
    for (const event of readable([JSON.parse(data)])) this.#later(event);
  }

  /** The server's log is shorter than what was seen here (a restored store): what follows is the whole of it. */
  #reset(): void {
    this.#queue = [];
    this.#events = [];
    this.#lastSeen = -1;
    this.#live.clear();
    this.live = [];
    this.transcript = emptyTranscript;
    this.earlier = "none";
  }

  /** One fold for all that came since the last picture. */
  #later(item: StoredEvent | Ephemeral): void {
    this.#queue.push(item);
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (document.hidden) setTimeout(() => this.#fold(), hiddenFoldMs);
    else requestAnimationFrame(() => this.#fold());
  }

  #fold(): void {
    this.#scheduled = false;
    const queue = this.#queue;
    if (queue.length === 0) return;
    this.#queue = [];
    const events: StoredEvent[] = [];
    let activity = this.activity;
    for (const item of queue) {
      if ("kind" in item) {
        events.push(item);
        this.#live.settle(item);
        activity = null;
      } else if (item.name === "delta") this.#live.add(item);
      else if (item.name === "activity") activity = item.text;
    }
    this.live = this.#live.blocks();
    this.activity = activity;
    if (events.length > 0) this.#append(events);
  }

  #append(events: readonly StoredEvent[]): void {
    if (this.#events.length === 0) this.earlier = events[0]!.id > 0 ? "some" : "none";
    for (const event of events) this.#events.push(event);
    if (this.#events.length > heldEventsMax) {
      this.#events = this.#events.slice(-heldEventsMax / 2);
      this.earlier = "some";
      this.transcript = reduceAll(emptyTranscript, this.#events);
    } else this.transcript = reduceAll(this.transcript, events);
    this.#upward.events(events);
  }
}

/** Kinds from a newer server, and what is broken, are left out; their ids still count as seen. */
function readable(values: readonly unknown[]): StoredEvent[] {
  return values.map(decodeEvent).flatMap((decoded) => (decoded.ok ? [decoded.value] : []));
}
