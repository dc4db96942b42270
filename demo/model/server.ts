import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { reduceRequest } from "./asked.ts";
import type { Answer, Asked, Block, Script } from "./script.ts";

export interface ModelOptions {
  readonly script: Script;
  readonly host?: string;
  readonly port?: number;
  /** Told of every request that a script is asked about, with the request's body as it came. */
  readonly onRequest?: (asked: Asked, body: unknown) => void;
}

export interface Model {
  /** What ANTHROPIC_BASE_URL is set to. */
  readonly url: string;
  /** Requests for a message so far. */
  requests(): number;
  close(): Promise<void>;
}

/** A request beyond this is answered with 413. The agent's context window is far smaller. */
const requestBytesMax = 64 * 1024 * 1024;
/** Text goes out in pieces of this many characters, at most `piecesMax` of them a block. */
const pieceChars = 24;
const piecesMax = 64;
/** Time between two pieces where the script says nothing else. */
const chunkDelayMs = 0;
/** Between the last piece and a dropped connection. */
const dropAfterMs = 100;

/**
 * A stand-in of Anthropic's Messages API (`POST /v1/messages`, streamed or not; `HEAD /`), played by a Script: the real
 * agent runs against it without a model and without a credential.
 */
export async function startModel(options: ModelOptions): Promise<Model> {
  let requests = 0;
  const server = createServer((request, response) => {
    if (request.method === "HEAD") return void response.writeHead(404).end();
    if (request.method !== "POST" || request.url?.split("?")[0] !== "/v1/messages")
      return fail(response, 404, "not_found_error", "This stand-in answers POST /v1/messages only.");
    void receive(request).then((body) => {
      if (body === null) return fail(response, 413, "request_too_large", "The request is too large.");
      const reduced = reduceRequest(body);
      if (reduced === undefined)
        return fail(response, 400, "invalid_request_error", "No JSON with messages.");
      requests++;
      options.onRequest?.(reduced.asked, reduced.body);
      return play(options.script(reduced.asked), {
        response,
        stream: reduced.stream,
        model: reduced.asked.model,
        // A conversation goes on although the stand-in begins anew: no id may come twice.
        id: `msg_standin_${randomUUID()}`,
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  });
  const { address, port } = server.address() as AddressInfo;
  return {
    url: `http://${address.includes(":") ? `[${address}]` : address}:${port}`,
    requests: () => requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        // Those that hang by script would hold it open for ever.
        server.closeAllConnections();
      }),
  };
}

interface Stage {
  readonly response: ServerResponse;
  readonly stream: boolean;
  readonly model: string;
  readonly id: string;
}

async function play(answer: Answer, stage: Stage): Promise<void> {
  const { response } = stage;
  switch (answer.kind) {
    case "status":
      return fail(response, answer.status, answer.type, answer.message);
    case "hang":
      if (answer.blocks !== undefined && stage.stream)
        await openStream(answer.blocks, stage, chunkDelayMs, true);
      return;
    case "drop":
      if (stage.stream) await openStream(answer.blocks, stage, chunkDelayMs, true);
      // A reader that sees the end at once throws away what came before it; a network breaks later.
      await new Promise((resolve) => setTimeout(resolve, dropAfterMs));
      response.destroy();
      return;
    case "blocks": {
      const stop = answer.blocks.some((block) => block.type === "tool_use") ? "tool_use" : "end_turn";
      if (!stage.stream) return json(response, 200, whole(answer.blocks, stage, stop));
      await openStream(answer.blocks, stage, answer.chunkDelayMs ?? chunkDelayMs, false);
      await send(response, {
        type: "message_delta",
        delta: { stop_reason: stop, stop_sequence: null },
        usage,
      });
      await send(response, { type: "message_stop" });
      response.end();
    }
  }
}

/** The stream up to the end of its blocks, or, when it is to break, up to the last piece of the last one. */
async function openStream(
  blocks: readonly Block[],
  stage: Stage,
  delayMs: number,
  breaks: boolean,
): Promise<void> {
  const { response } = stage;
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  await send(response, { type: "message_start", message: { ...whole([], stage, null), content: [] } });
  for (const [index, block] of blocks.entries()) {
    const text = block.type === "text";
    const empty = text ? { type: "text", text: "" } : { ...toolUse(block, stage, index), input: {} };
    await send(response, { type: "content_block_start", index, content_block: empty });
    for (const piece of pieces(text ? block.text : JSON.stringify(block.input))) {
      const delta = text
        ? { type: "text_delta", text: piece }
        : { type: "input_json_delta", partial_json: piece };
      await send(response, { type: "content_block_delta", index, delta });
      if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    if (!breaks || index < blocks.length - 1) await send(response, { type: "content_block_stop", index });
  }
}

function whole(blocks: readonly Block[], stage: Stage, stop: string | null) {
  const content = blocks.map((block, index) =>
    block.type === "text" ? block : toolUse(block, stage, index),
  );
  const { id, model } = stage;
  return {
    id,
    type: "message",
    role: "assistant",
    model,
    content,
    stop_reason: stop,
    stop_sequence: null,
    usage,
  };
}

const usage = { input_tokens: 10, output_tokens: 10 };

const toolUse = (block: Extract<Block, { type: "tool_use" }>, stage: Stage, index: number) => ({
  type: "tool_use",
  id: `toolu_${stage.id}_${index}`,
  name: block.name,
  input: block.input,
});

function pieces(text: string): string[] {
  const size = Math.max(pieceChars, Math.ceil(text.length / piecesMax));
  const found: string[] = [];
  for (let at = 0; at < text.length; at += size) found.push(text.slice(at, at + size));
  return found.length === 0 ? [""] : found;
}

/** One server-sent event, within the socket's backpressure; a reader that has gone away is no error of ours. */
async function send(
  response: ServerResponse,
  event: { readonly type: string; readonly [key: string]: unknown },
): Promise<void> {
  if (response.destroyed) return;
  if (response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)) return;
  await new Promise<void>((resolve) => {
    response.once("drain", resolve);
    response.once("close", resolve);
  });
}

function fail(response: ServerResponse, status: number, type: string, message: string): void {
  json(response, status, { type: "error", error: { type, message } });
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** The body as text; a torn request reads as what came of it, which is no JSON; null: it is too large. */
async function receive(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > requestBytesMax) return null;
      chunks.push(chunk);
    }
  } catch {
    // The asker hung up: there is nobody left to answer.
  }
  return Buffer.concat(chunks).toString("utf8");
}
