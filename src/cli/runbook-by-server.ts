import { request } from "node:http";
import { z } from "zod";
import { decodeEvent } from "../protocol/decode.ts";
import type { RunbookSettled } from "../protocol/events.ts";
import { Refused } from "./by-server.ts";
import { ask, detailOf, type ControlAnswer } from "./control.ts";
import type { RunbookAsking } from "./runbook.ts";

/** A server that says nothing for longer, not even that it is there (every 15 s), is gone. */
const quietMs = 45_000;
/** Of one line of the stream; a longer one is no Event. */
const lineCharsMax = 9 * 1024 * 1024;

const created = z.object({ session_id: z.string() });

/**
 * Has the running server run it in a Session of its own, and follows that to its end. Throws Refused when it was not started,
 * NobodyThere when there is no server, and any other error when no result came.
 */
export async function runOnServer(
  socketPath: string,
  { name, target, key }: RunbookAsking,
  say: (sentence: string) => void,
): Promise<Omit<RunbookSettled, "kind" | "phase">> {
  const made = await ask(socketPath, "POST", "/api/session", { body: {}, quietMs });
  const session = created.safeParse(made.body).data?.session_id;
  if (session === undefined) throw refused(made);
  const path = `/api/session/${session}`;
  await ask(socketPath, "POST", `${path}/runbook`, { body: { name, target, key }, quietMs }).then(
    (started) => {
      if (started.status >= 300) throw refused(started);
    },
  );
  say(`It runs on the server, in session ${session}.`);
  return follow(socketPath, `${path}/stream`);
}

function refused(answer: ControlAnswer): Error {
  const detail = detailOf(answer);
  return detail === undefined
    ? new Error(`the server answered ${answer.status}`)
    : new Refused(detail, answer.status === 409);
}

/** Reads the Session's stream until the Turn has ended, and answers what the Runbook came to. */
function follow(socketPath: string, path: string): Promise<RunbookSettled> {
  return new Promise((resolve, reject) => {
    let settled: RunbookSettled | null = null;
    let failed = "";
    let rest = "";
    const following = request({ socketPath, path, timeout: quietMs, agent: false }, (response) => {
      response.setEncoding("utf8").on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = (lines.pop() ?? "").slice(0, lineCharsMax);
        for (const line of lines) take(line);
      });
      response.on("error", reject);
      response.on("end", () => reject(new Error("the server ended the stream")));
    });
    const take = (line: string): void => {
      if (!line.startsWith("data: ")) return;
      const event = decodeEvent(parse(line.slice("data: ".length)));
      if (!event.ok) return;
      const { value } = event;
      if (value.kind === "runbook" && value.phase === "settled") settled = value;
      if (value.kind === "error") failed = value.error;
      if (value.kind === "cancelled") failed = "It was stopped.";
      if (value.kind !== "turn_end") return;
      following.destroy();
      if (settled !== null) resolve(settled);
      else reject(new Error(failed || `the turn ended ${value.reason}, without a result`));
    };
    following.on("timeout", () =>
      following.destroy(new Error(`no word from the server within ${quietMs / 1000} s`)),
    );
    following.on("error", reject);
    following.end();
  });
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
