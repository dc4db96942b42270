import type { IncomingMessage, ServerResponse } from "node:http";
import type { OperationNews } from "../power/power.ts";
import { decodeLastEventId } from "../../protocol/decode.ts";
import type { SessionId } from "../../protocol/ids.ts";
import type { TargetStatus } from "../../protocol/targets.ts";
import type { Clock } from "../clock.ts";
import { sessionStream, type Session } from "../sessions/session.ts";
import type { Store } from "../store/store.ts";
import { Follower, named, type FollowStart } from "./follow.ts";

export interface StreamDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly keepaliveMs: number;
  readonly targets: () => readonly TargetStatus[];
  readonly report: (error: unknown) => void;
}

/** Clients wait this long before they reconnect. */
const retryMs = 1_000;
/** Connections over all Sessions; one more gets 503 and tries again. */
export const streamsMax = 4_000;
/** Live text is sent at most this often per Session: a person reads no faster. */
const liveEveryMs = 30;

/** What a client asks for when it attaches. */
export interface AttachRequest {
  readonly lastEventId: string | undefined;
  readonly tail: number | undefined;
  readonly watch: boolean;
}

/** All attached clients, and one watch on the store per Session however many they are. */
export class Streams {
  readonly #deps: StreamDeps;
  readonly #rooms = new Map<SessionId, Room>();
  readonly #watching = new Set<Follower>();
  /** Watching clients that did not keep up when the target states changed. */
  readonly #stale = new Set<Follower>();
  readonly #stopKeepalive: () => void;
  #count = 0;

  constructor(deps: StreamDeps) {
    this.#deps = deps;
    this.#stopKeepalive = every(deps.clock, deps.keepaliveMs, () => this.#keepAlive());
  }

  get count(): number {
    return this.#count;
  }

  /** Answers false when there is no place for one more. The response is ours from here on. */
  async attach(
    session: Session,
    asked: AttachRequest,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<boolean> {
    if (this.#count >= streamsMax) return false;
    this.#count += 1;
    let follower: Follower | null = null;
    let gone = false;
    response.once("close", () => {
      gone = true;
      this.#count -= 1;
      if (follower !== null) this.#leave(session.id, follower);
    });
    const stream = sessionStream(session.id);
    const start = startOf(asked, await this.#deps.store.head(stream));
    if (gone) return true;
    openHead(request, response);
    const { store, report } = this.#deps;
    follower = new Follower({ store, stream, live: session.live, onError: report }, response, start);
    this.#roomOf(session).followers.add(follower);
    if (asked.watch) {
      this.#watching.add(follower);
      follower.send(named("targets", this.#deps.targets()));
    }
    return true;
  }

  targetsChanged(targets: readonly TargetStatus[]): void {
    this.#sendTargets(this.#watching, named("targets", targets));
  }

  operationChanged(news: OperationNews): void {
    const frame = named("operation", news);
    for (const follower of this.#watching) follower.send(frame);
  }

  /** Ends every stream; the clients reconnect after `retry`. */
  close(): void {
    this.#stopKeepalive();
    for (const room of this.#rooms.values()) {
      for (const follower of room.followers) follower.end(`retry: ${retryMs}\n\n`);
    }
  }

  #roomOf(session: Session): Room {
    let room = this.#rooms.get(session.id);
    if (room === undefined) {
      room = new Room(this.#deps, session);
      this.#rooms.set(session.id, room);
    }
    return room;
  }

  #leave(id: SessionId, follower: Follower): void {
    follower.end();
    this.#watching.delete(follower);
    this.#stale.delete(follower);
    const room = this.#rooms.get(id);
    if (room === undefined) return;
    room.followers.delete(follower);
    if (room.followers.size > 0) return;
    room.close();
    this.#rooms.delete(id);
  }

  #keepAlive(): void {
    // The comment keeps proxies open; the named frame is what a page can see of it.
    const frame = `: keepalive\n\n${named("beat", this.#deps.keepaliveMs / 1000)}`;
    for (const room of this.#rooms.values()) {
      for (const follower of room.followers) follower.send(frame);
    }
    if (this.#stale.size > 0) this.#sendTargets(this.#stale, named("targets", this.#deps.targets()));
  }

  #sendTargets(followers: Iterable<Follower>, frame: string): void {
    for (const follower of followers) {
      if (follower.send(frame)) this.#stale.delete(follower);
      else this.#stale.add(follower);
    }
  }
}

/** The clients of one Session. */
class Room {
  readonly followers = new Set<Follower>();
  readonly #stops: (() => void)[];

  constructor(deps: StreamDeps, session: Session) {
    let due = false;
    const showLive = () => {
      if (due) return;
      due = true;
      deps.clock.after(liveEveryMs, () => {
        due = false;
        for (const follower of this.followers) follower.showLive();
      });
    };
    this.#stops = [
      deps.store.watch(sessionStream(session.id), (frames) => {
        for (const follower of this.followers) follower.take(frames);
      }),
      session.live.onChange(showLive),
    ];
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }
}

/** Where a replay begins: an id wins over `tail`; an id beyond the head (a restored store) means all of it, told. */
export function startOf({ lastEventId, tail }: AttachRequest, head: number): FollowStart {
  const retry = `retry: ${retryMs}\n\n`;
  if (lastEventId !== undefined) {
    const after = decodeLastEventId(lastEventId);
    if (after === null) return { after: -1, preamble: retry };
    if (after > head) return { after: -1, preamble: `${retry}${named("reset", {})}` };
    return { after, preamble: retry };
  }
  return { after: tail === undefined ? -1 : Math.max(-1, head - tail), preamble: retry };
}

function openHead(request: IncomingMessage, response: ServerResponse): void {
  request.socket.setNoDelay(true);
  // The end of the connection is the end of the body: no chunk's head and tail around every write to every follower.
  response.useChunkedEncodingByDefault = false;
  response.writeHead(200, {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
  });
}

function every(clock: Clock, ms: number, callback: () => void): () => void {
  let stop = clock.after(ms, function again() {
    stop = clock.after(ms, again);
    callback();
  });
  return () => stop();
}
