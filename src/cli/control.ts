import { access } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { z } from "zod";
import { systemClock, within } from "../server/clock.ts";
import type { Config } from "../server/config/config.ts";
import { findKeptFolder } from "../server/ssh/runtime-folder.ts";

/** A data directory that does not say by then whether the socket is there hangs, and is passed over. */
const lookMs = 500;

/** Where a server with these settings may listen: in memory while its data directory does not answer. */
export function controlPaths({ dataDir, nothingConfigured }: Config): readonly string[] {
  const dataDirs = nothingConfigured ? [join(dataDir, "demo"), dataDir] : [dataDir];
  return dataDirs.flatMap((each) =>
    [findKeptFolder(each), each].flatMap((folder) => (folder === null ? [] : [join(folder, "control.sock")])),
  );
}

export interface ControlAnswer {
  readonly status: number;
  /** undefined: it was no JSON. */
  readonly body: unknown;
}

/** Nothing was asked of anybody. */
export class NobodyThere extends Error {
  override readonly name = "NobodyThere";
}

const refusal = z.object({ detail: z.string() });

/** The server's own sentence, where it said no. */
export function detailOf({ body }: ControlAnswer): string | undefined {
  return refusal.safeParse(body).data?.detail;
}

/** One question over the control socket. Rejects with NobodyThere, or with another error when the answer breaks off. */
export async function ask(
  socketPath: string,
  method: "GET" | "POST",
  path: string,
  { body, quietMs }: { readonly body?: unknown; readonly quietMs: number },
): Promise<ControlAnswer> {
  const there = access(socketPath).then(
    () => true,
    () => false,
  );
  if (!(await within(systemClock, lookMs, there))) throw new NobodyThere(`There is no ${socketPath}.`);
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": "application/json" };
    const options = { socketPath, path, method, headers, timeout: quietMs, agent: false };
    const asking = request(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: parse(text) }));
    });
    asking.on("timeout", () => asking.destroy(new Error(`no answer within ${quietMs / 1000} s`)));
    let connected = false;
    asking.on("socket", (socket) => socket.on("connect", () => (connected = true)));
    asking.on("error", (error) => reject(connected ? error : new NobodyThere(error.message)));
    asking.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
