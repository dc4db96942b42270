import { html } from "hono/html";
import type { Operation } from "../../../protocol/api.ts";
import type { OperationId } from "../../../protocol/ids.ts";
import type { TargetStatus } from "../../../protocol/targets.ts";
import { verbs, type Verb } from "../../../protocol/verbs.ts";
import { lastLine, stateLine } from "./machines.ts";
import { hidden, page, submit, type Html } from "./page.ts";

/**
 * The last page before a machine is touched. The key is the Operation's id, made for this page: its form acts once, however
 * often it is sent. `after` is what the Operator has seen as the last thing that happened.
 */
export function confirmPage(shown: {
  readonly target: TargetStatus;
  readonly verb: Verb;
  readonly last: Operation | null;
  readonly key: OperationId;
  readonly form: string;
  readonly now: number;
}): Html {
  const { target, verb, last, key, form, now } = shown;
  const { name } = target;
  return page(
    `${verb} ${name}?`,
    html`<h1>${verb} ${name}?</h1>
      <p class="consequence">${verbs[verb].consequence}</p>
      <h2>${name} now</h2>
      ${stateLine(target, now)} ${lastLine(last, now)}
      ${
        verb !== "cycle" &&
        html`<p>
          A machine that does not answer is cured by
          <a class="tap" href="/rescue/confirm/${encodeURIComponent(name)}/cycle">cycle</a>.
        </p>`
      }
      <form method="post" action="/rescue/operate/${encodeURIComponent(name)}">
        ${hidden("form", form)} ${hidden("verb", verb)} ${hidden("key", key)}
        ${hidden("after", last?.id ?? "")} ${submit(`${verb} ${name} now`, "danger")}
      </form>
      <p><a class="tap" href="/rescue">Back, without touching anything</a></p>`,
  );
}
