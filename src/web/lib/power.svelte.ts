import type { Operation, OperationRequest } from "../../protocol/api.ts";
import { isUuid, type OperationId } from "../../protocol/ids.ts";
import type { OperationBrief } from "../../protocol/targets.ts";
import { verbs, type Verb } from "../../protocol/verbs.ts";
import { ask, askUntilAnswered } from "./ask.ts";
import type { OperationFrame } from "./session.svelte.ts";
import { newUuid } from "./uuid.ts";

/** While an Operation runs and the stream is silent about it, its state is asked for this often. */
const followMs = 3000;
/** Of the output this much is held, in UTF-16 units; what comes after it is not shown, and the server has the whole. */
const outputHeldMax = 400_000;

/** What is being sent, or how the sending ended when it did not give an Operation. */
export type Asking =
  | { readonly kind: "no" }
  | { readonly kind: "yes" | "lost"; readonly verb: Verb }
  | { readonly kind: "refused" | "unanswered"; readonly verb: Verb; readonly detail: string };

/** The power side of one Target: what was asked here or by others, and what came of it. */
export class Power {
  /** The Operation that is shown, newest first come. */
  shown = $state.raw<Operation | null>(null);
  asking = $state.raw<Asking>({ kind: "no" });

  readonly target: string;
  #mine: OperationId | null = null;
  #following: ReturnType<typeof setTimeout> | undefined;

  constructor(target: string) {
    this.target = target;
  }

  /** `after` is the last mutating Operation that the person saw before they decided. */
  async operate(verb: Verb, after: OperationId | null): Promise<void> {
    if (this.asking.kind === "yes" || this.asking.kind === "lost") return;
    const key = newUuid();
    this.#mine = key;
    this.asking = { kind: "yes", verb };
    const body: OperationRequest = { verb, key, after };
    const path = `/api/targets/${encodeURIComponent(this.target)}/operations`;
    const answer = await askUntilAnswered<Operation>(path, body, () => {
      if (this.asking.kind === "yes") this.asking = { kind: "lost", verb };
    });
    if (answer.kind === "ok") this.#take(answer.value);
    // A frame of the stream may have said in the meantime that it did arrive.
    else if (this.shown?.id === key) this.asking = { kind: "no" };
    else if (answer.kind === "refused") this.asking = { kind: "refused", verb, detail: answer.detail };
    else this.asking = { kind: "unanswered", verb, detail: unanswered(verb, this.target) };
  }

  heard({ operation, output }: OperationFrame): void {
    if (operation.target !== this.target) return;
    const had = this.shown;
    if (had?.id !== operation.id && !this.#concerns(operation)) return;
    const before = had?.id === operation.id ? had.output : "";
    if (output === undefined) return this.#take(operation);
    const missing = output.from > before.length;
    this.#take({ ...operation, output: missing ? before : before.slice(0, output.from) + output.text });
    if (missing && before.length < outputHeldMax) void this.#fetch(operation.id);
  }

  /** What was under way before this page attached comes with no frame of its own. */
  async noticed(current: OperationBrief | null): Promise<void> {
    if (current === null || !isUuid(current.id) || current.id === this.shown?.id) return;
    const answer = await ask<Operation>("GET", `/api/operations/${current.id}`);
    if (answer.kind === "ok") this.heard({ operation: answer.value });
  }

  /** The last mutating Operation that a person who looks at this page has seen. */
  lastSeen(last: OperationBrief | null): OperationId | null {
    const { shown } = this;
    if (shown !== null && verbs[shown.verb].mutating && shown.requested_at >= (last?.at ?? ""))
      return shown.id;
    return isUuid(last?.id) ? last.id : null;
  }

  close(): void {
    clearTimeout(this.#following);
  }

  /** Shown are one's own Operations, and what others do to the machine unless something newer is there. */
  #concerns(operation: Operation): boolean {
    if (operation.id === this.#mine) return true;
    if (this.shown !== null && this.shown.settled_at === undefined) return false;
    return verbs[operation.verb].mutating && operation.requested_at >= (this.shown?.requested_at ?? "");
  }

  #take(operation: Operation): void {
    if (operation.id === this.#mine) this.asking = { kind: "no" };
    const had = this.shown?.id === operation.id ? this.shown : null;
    // Answers and frames may overtake each other: what is settled stays settled, and output only grows.
    const newer = had?.settled_at !== undefined && operation.settled_at === undefined ? had : operation;
    const output = (had?.output.length ?? 0) > operation.output.length ? had!.output : operation.output;
    const forensics = operation.forensics ?? had?.forensics;
    this.shown = { ...newer, output: output.slice(0, outputHeldMax), ...(forensics && { forensics }) };
    clearTimeout(this.#following);
    if (newer.settled_at === undefined)
      this.#following = setTimeout(() => void this.#fetch(operation.id), followMs);
    // Frames come without the evidence: it is asked for once, when all of it is there.
    else if (had !== null && had.settled_at === undefined) void this.#fetch(operation.id);
  }

  async #fetch(id: OperationId): Promise<void> {
    const answer = await ask<Operation>("GET", `/api/operations/${id}`);
    if (this.shown?.id !== id) return;
    if (answer.kind === "ok") this.#take(answer.value);
    else if (this.shown.settled_at === undefined) this.#take(this.shown);
  }
}

function unanswered(verb: Verb, target: string): string {
  return `No answer came. It is not known whether ${verb} reached ${target}: it may be under way. Look at the state, or ask for status, before you act again.`;
}
