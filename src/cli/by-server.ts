import { z } from "zod";
import type { Operation } from "../protocol/api.ts";
import type { OperationId } from "../protocol/ids.ts";
import type { Verb } from "../protocol/verbs.ts";
import { ask, detailOf } from "./control.ts";

export interface Asking {
  readonly target: string;
  readonly verb: Verb;
  /** The Operation's id and the host's job id: asked again, it is the same one, which acts once. */
  readonly key: OperationId;
}

/** The server's no: nothing was sent. `busy` is worth another try later. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly busy: boolean;
  constructor(detail: string, busy: boolean) {
    super(detail);
    this.busy = busy;
  }
}

/** The server holds an answer until there is something new, at most so long. */
const heldSeconds = 25;
/** A server that says nothing for longer is gone. */
const quietMs = (heldSeconds + 5) * 1_000;

const operationAnswer = z.looseObject({
  output: z.string(),
  durable: z.boolean(),
  outcome: z.looseObject({ kind: z.string() }).optional(),
});

/**
 * Has the running server do it, under its lock and in its record, and follows the output to the end. Throws Refused when nothing
 * was done, and any other error when the server does not answer any more: then it may have been done.
 */
export async function askServer(
  socketPath: string,
  { target, verb, key }: Asking,
  show: (output: string) => void,
): Promise<Operation> {
  const path = `/api/targets/${encodeURIComponent(target)}/operations`;
  const asked = await ask(socketPath, "POST", path, { body: { verb, key }, quietMs });
  if (asked.status !== 202) {
    const detail = detailOf(asked);
    if (asked.status >= 400 && asked.status < 500 && detail !== undefined)
      throw new Refused(detail, asked.status === 409);
    throw new Error(detail ?? `it answered ${asked.status}`);
  }
  let output = "";
  for (;;) {
    const news = await ask(
      socketPath,
      "GET",
      `/api/operations/${key}?after=${output.length}&wait=${heldSeconds}`,
      { quietMs },
    );
    const { data } = operationAnswer.safeParse(news.body);
    if (news.status !== 200 || data === undefined) throw new Error(`it answered ${news.status}`);
    output += data.output;
    show(data.output);
    if (data.outcome !== undefined) return { ...(data as unknown as Operation), output };
  }
}
