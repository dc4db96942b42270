import type { IncomingMessage, ServerResponse } from "node:http";
import type { OperationNews } from "../power/power.ts";
import type { ConsoleNow } from "../../protocol/api.ts";
import { decodeLastEventId } from "../../protocol/decode.ts";
import type { SessionId } from "../../protocol/ids.ts";
import type { TargetStatus } from "../../protocol/targets.ts";
import type { Clock } from "../clock.ts";
import type { Scope } from "../config/config.ts";
import { sessionStream, type Session } from "../sessions/session.ts";
import type { Store } from "../store/store.ts";
import { consoleFor } from "./for-scope.ts";
import { Follower, named, type FollowStart } from "./follow.ts";

export interface StreamDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly keepaliveMs: number;
  readonly targets: () => readonly TargetStatus[];
  readonly console: () => ConsoleNow;
  readonly report: (error: unknown) => void;
}

/** What of a Session is followed. */
type Followed = Pick<Session, "id" | "live" | "mode">;

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
  /** What whoever watches may be shown. */
  readonly scope: Scope;
}

/** All attached clients, and one watch on the store per Session however many they are. */
export class Streams {
  readonly #deps: StreamDeps;
  readonly #rooms = new Map<SessionId, Room>();
  readonly #watching = new Map<Follower, Scope>();
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
    session: Followed,
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
    follower.show("mode", named("mode", session.mode.now()));
    if (asked.watch) {
      this.#watching.set(follower, asked.scope);
      follower.show("targets", named("targets", this.#deps.targets()));
      follower.show("console", named("console", consoleFor(asked.scope, this.#deps.console())));
    }
    return true;
  }

  targetsChanged(targets: readonly TargetStatus[]): void {
    this.#show("targets", () => targets);
  }

  operationChanged(news: OperationNews): void {
    const frame = named("operation", news);
    for (const follower of this.#watching.keys()) follower.send(frame);
  }

  /** What concerns every Session has changed: Approvals that wait, the freeze, the model. */
  consoleChanged(): void {
    const now = this.#deps.console();
    this.#show("console", (scope) => consoleFor(scope, now));
  }

  /** Ends every stream; the clients reconnect after `retry`. */
  close(): void {
    this.#stopKeepalive();
    for (const room of this.#rooms.values()) {
      for (const follower of room.followers) follower.end(`retry: ${retryMs}\n\n`);
    }
  }

  /** One string for all who may be shown the same. */
  #show(name: string, dataFor: (scope: Scope) => unknown): void {
    const frames = new Map<Scope, string>();
    for (const [follower, scope] of this.#watching) {
      const frame = frames.get(scope) ?? named(name, dataFor(scope));
      frames.set(scope, frame);
      follower.show(name, frame);
    }
  }

  #roomOf(session: Followed): Room {
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
  }
}

/** The clients of one Session. */
class Room {
  readonly followers = new Set<Follower>();
  readonly #stops: (() => void)[];

  constructor(deps: StreamDeps, session: Followed) {
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
      session.mode.watch(() => {
        const frame = named("mode", session.mode.now());
        for (const follower of this.followers) follower.show("mode", frame);
      }),
    ];
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }
}

/** Where a replay begins: an id wins over `tail`; an id beyond the head (a restored store) means all of it, told. */
export function startOf(
  { lastEventId, tail }: Pick<AttachRequest, "lastEventId" | "tail">,
  head: number,
): FollowStart {
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
