import { onTestFinished } from "vitest";
import type { PendingApproval } from "../../src/protocol/api.ts";
import type { TurnRequest } from "../../src/server/agent/agent.ts";
import type { Clock } from "../../src/server/clock.ts";
import type { Store } from "../../src/server/store/store.ts";
import { brokerStage, startShim } from "../broker/stage.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { startApp } from "../doubles/app.ts";
import { EventStream } from "./event-stream.ts";

/**
 * The whole surface with a real Broker over real ssh to a real sshd, and an agent that runs each line of its prompt as the
 * agent's ssh: the words after the machine are the command, what stands behind "<" is stdin.
 */
export async function agentPath(
  options: {
    readonly store?: Store;
    /** Of the Sessions. */
    readonly clock?: Clock;
    readonly broker?: { readonly clock?: Clock; readonly store?: () => Store };
  } = {},
) {
  const stage = await brokerStage(options.broker);
  onTestFinished(() => stage.close());
  await stage.broker.freeze.load();
  const app = await startApp({
    agent: scriptedAgent(knock),
    openDoor: (session) => stage.broker.open(session),
    approvals: stage.broker.approvals,
    freeze: stage.broker.freeze,
    ...(options.store && { store: options.store }),
    ...(options.clock && { clock: options.clock }),
  });

  async function newSession(): Promise<string> {
    return String((await app.ask("POST", "/api/session")).body["session_id"]);
  }

  const prompt = (session: string, text: string) =>
    app.ask("POST", `/api/session/${session}/prompt`, { prompt: text });

  /** A device with the page open. */
  const attach = (session: string, headers = {}) =>
    EventStream.open(`${app.url}/api/session/${session}/stream?watch=1`, {
      ...app.authorization,
      ...headers,
    });

  const answer = (
    { session_id, approval, sha256 }: PendingApproval,
    decision: "approve" | "deny",
    headers = {},
  ) => app.ask("POST", `/api/session/${session_id}/approvals/${approval}`, { decision, sha256 }, headers);

  return { ...app, stage, newSession, prompt, attach, answer };
}

async function knock({ prompt, report, door, signal }: TurnRequest) {
  for (const line of prompt.split("\n")) {
    const [asked = "", input = ""] = line.split(" < ");
    const [machine = "", ...command] = asked.split(" ");
    const child = startShim(door, "ssh", [machine, command.join(" ")]);
    // Stop leaves nothing of a Turn behind.
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill);
    let said = "";
    for (const from of [child.stdout, child.stderr])
      from?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    child.stdin?.on("error", () => {}).end(input);
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    signal.removeEventListener("abort", kill);
    if (signal.aborted) return "cancelled";
    await report({ kind: "text", text: `${code}: ${said}` });
  }
  return "done";
}

/** What waits, as this device shows it now. */
export function shown(stream: EventStream): readonly PendingApproval[] {
  const last = stream.named("console").at(-1)?.data as { approvals: readonly PendingApproval[] } | undefined;
  return last?.approvals ?? [];
}

/** Resolves with what waits, once there are so many. */
export async function waits(stream: EventStream, count = 1): Promise<readonly PendingApproval[]> {
  await stream.until((each) => each.named("console").length > 0 && shown(each).length === count);
  return shown(stream);
}

export const events = (stream: EventStream) =>
  stream.frames.flatMap(({ id, data }) => (id === undefined ? [] : [data as Record<string, unknown>]));

/** Resolves when the newest Turn on this stream has ended. */
export async function turnEnded(stream: EventStream): Promise<void> {
  await stream.until((each) => events(each).at(-1)?.["kind"] === "turn_end");
}

export const kinds = (stream: EventStream) => events(stream).map(({ kind }) => kind);
