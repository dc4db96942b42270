import { get, type IncomingMessage } from "node:http";

export interface Frame {
  readonly id?: number;
  readonly event?: string;
  readonly data?: unknown;
  readonly retry?: number;
  readonly comment?: string;
}

/** A client of the event stream as a browser is one, with everything it sees kept in order. */
export class EventStream {
  readonly frames: Frame[] = [];
  readonly response: IncomingMessage;
  ended = false;
  #text = "";
  #onFrame = new Set<() => void>();

  static open(url: string, headers: Readonly<Record<string, string>> = {}): Promise<EventStream> {
    return new Promise((resolve, reject) => {
      get(url, { headers, agent: false }, (response) => resolve(new EventStream(response))).on(
        "error",
        reject,
      );
    });
  }

  private constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => this.#take(chunk));
    const end = () => {
      this.ended = true;
      this.#wake();
    };
    response.on("close", end).on("error", end);
  }

  get ids(): number[] {
    return this.frames.flatMap(({ id }) => (id === undefined ? [] : [id]));
  }

  named(event: string): Frame[] {
    return this.frames.filter((frame) => frame.event === event);
  }

  /** Resolves when `condition` holds; it is looked at after every frame. Rejects when the stream ends before. */
  until(condition: (stream: this) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (condition(this)) resolve();
        else if (this.ended)
          reject(new Error(`the stream ended with ${JSON.stringify(this.frames.slice(-5))}`));
        else return;
        this.#onFrame.delete(look);
      };
      this.#onFrame.add(look);
      look();
    });
  }

  close(): void {
    this.response.destroy();
  }

  #take(chunk: string): void {
    this.#text += chunk;
    const parts = this.#text.split("\n\n");
    this.#text = parts.pop() ?? "";
    for (const part of parts) this.frames.push(parseFrame(part));
    this.#wake();
  }

  #wake(): void {
    for (const look of this.#onFrame) look();
  }
}

function parseFrame(text: string): Frame {
  let frame: Frame = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    const value = line.slice(colon + 1).trimStart();
    switch (line.slice(0, colon)) {
      case "":
        frame = { ...frame, comment: value };
        break;
      case "id":
        frame = { ...frame, id: Number(value) };
        break;
      case "event":
        frame = { ...frame, event: value };
        break;
      case "data":
        frame = { ...frame, data: JSON.parse(value) };
        break;
      case "retry":
        frame = { ...frame, retry: Number(value) };
        break;
      default:
        throw new Error(`no line of an event stream: ${line}`);
    }
  }
  return frame;
}
