import type { ApprovalAnswer, ApprovalRequest, EventsPage, PendingApproval } from "../../protocol/api.ts";
import { decodeEvent } from "../../protocol/decode.ts";
import type { ApprovalDecided } from "../../protocol/events.ts";
import { ask, waitOrOnline, type Answer } from "./ask.ts";

export type Choice = ApprovalRequest["decision"];
/** How a request was decided, and by whom where that is known. */
type Decided = Pick<ApprovalDecided, "decision" | "reason"> & { readonly by?: string };

/** What this page has done about one request, and what it knows came of it. */
export type Answering =
  | { readonly kind: "no" }
  | { readonly kind: "sending"; readonly choice: Choice }
  /** No answer came. Nothing is sent again by itself: it is asked what became of the request. */
  | { readonly kind: "asking" | "lost"; readonly choice: Choice }
  /** It still waits: the answer has not arrived, or was turned away. The Operator may answer again. */
  | { readonly kind: "unsent"; readonly detail: string }
  /** The server's own word. */
  | { readonly kind: "decided"; readonly decided: Decided; readonly here: boolean }
  | { readonly kind: "refused"; readonly detail: string };

/** Waits between the questions what became of a request; then the Operator asks. */
const askAgainMs = [500, 2000, 5000, 15_000] as const;
/** A decision is among the newest Events of its Session. */
const newestEvents = 200;

/** The answers given on this page, each with the hash of exactly the request that was shown. */
export class Approvals {
  /** By sha256 of the request. */
  #answering = $state.raw<ReadonlyMap<string, Answering>>(new Map());

  of(asked: PendingApproval): Answering {
    return this.#answering.get(asked.sha256) ?? { kind: "no" };
  }

  /** Sent once. Only the server's answer makes it decided. */
  async decide(asked: PendingApproval, choice: Choice): Promise<void> {
    const { kind } = this.of(asked);
    if (kind !== "no" && kind !== "unsent") return;
    this.#set(asked, { kind: "sending", choice });
    const request: ApprovalRequest = { decision: choice, sha256: asked.sha256 };
    const path = `/api/session/${asked.session_id}/approvals/${asked.approval}`;
    const answer = await ask<ApprovalAnswer>("POST", path, request);
    if (answer.kind === "ok")
      this.#set(asked, { kind: "decided", decided: { decision: answer.value.decision }, here: true });
    else if (answer.kind === "lost") await this.find(asked, choice);
    else if (settles.has(answer.status)) this.#set(asked, { kind: "refused", detail: answer.detail });
    else this.#set(asked, { kind: "unsent", detail: `Not decided. ${answer.detail}` });
  }

  /** Asks what became of a request whose answer was lost, or that is not among those that wait any more. */
  async find(asked: PendingApproval, choice: Choice | null): Promise<void> {
    if (choice !== null) this.#set(asked, { kind: "asking", choice });
    const waiting = await askPatiently<readonly PendingApproval[]>("/api/approvals");
    if (waiting.kind !== "ok") {
      if (choice !== null) this.#set(asked, { kind: "lost", choice });
      return;
    }
    if (waiting.value.some(({ sha256 }) => sha256 === asked.sha256)) {
      if (choice !== null) this.#set(asked, { kind: "unsent", detail: notArrived });
      return;
    }
    const decided = await decisionOf(asked);
    if (decided === undefined) this.#set(asked, { kind: "refused", detail: waitsNoMore });
    else this.#set(asked, { kind: "decided", decided, here: false });
  }

  #set(asked: PendingApproval, answering: Answering): void {
    this.#answering = new Map(this.#answering).set(asked.sha256, answering);
  }
}

/** Not there, decided or another's, not recorded: answering again would change nothing. */
const settles: ReadonlySet<number> = new Set([404, 409, 507]);

async function decisionOf({ session_id, approval }: PendingApproval): Promise<Decided | undefined> {
  const path = `/api/session/${session_id}/events?limit=${newestEvents}`;
  const answer = await ask<EventsPage>("GET", path);
  if (answer.kind !== "ok") return undefined;
  for (const value of answer.value.events.toReversed()) {
    const event = decodeEvent(value);
    if (event.ok && event.value.kind === "decision" && event.value.approval === approval) return event.value;
  }
  return undefined;
}

/** Reading changes nothing, so that it may be asked for again. */
async function askPatiently<T>(path: string): Promise<Answer<T>> {
  for (const waitMs of askAgainMs) {
    const answer = await ask<T>("GET", path);
    if (answer.kind !== "lost") return answer;
    await waitOrOnline(waitMs);
  }
  return ask<T>("GET", path);
}

const notArrived =
  "Not sent yet: your answer has not reached the server, and the request still waits. Answer again if you still mean it.";
const waitsNoMore =
  "It does not wait any more: it was answered on another device, its time was over, or who asked is gone. The session says which.";
