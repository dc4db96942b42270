import { html } from "hono/html";
import type { Operation } from "../../../protocol/api.ts";
import { humanLines, outcomeWords, span } from "../../../protocol/words.ts";
import { lookAgainSeconds, marks, page, utc, type Html } from "./page.ts";

/** One Operation: while it runs the page asks again by itself, then it says how it ended. */
export function operationPage({
  operation,
  now,
}: {
  readonly operation: Operation;
  readonly now: number;
}): Html {
  const { id, verb, target, by, requested_at, outcome, durable } = operation;
  const output = humanLines(operation.output).trimEnd();
  const title = `${verb} ${target}`;
  return page(
    outcome === undefined ? `${title}: under way` : `${title}: ${outcomeWords(verb, outcome).headline}`,
    html`<h1>${title}</h1>
      <p>Asked for by ${by} at ${utc(requested_at, now)}.</p>
      ${outcome === undefined ? underWay(operation, now) : ended(operation, now)} ${!durable && notRecorded}
      <h2>What it said</h2>
      ${output === "" ? html`<p>Nothing yet.</p>` : html`<pre tabindex="0" aria-label="Output">${output}</pre>`}
      <p><a class="tap" href="/rescue/operation/${id}">Look again</a></p>
      <p><a class="tap" href="/rescue">All machines, and the verbs</a></p>`,
    { refresh: outcome === undefined },
  );
}

function underWay({ requested_at }: Operation, now: number): Html {
  return html`<p role="status">
      <strong class="warning">${marks.warning} Under way for ${span(now - Date.parse(requested_at))}.</strong>
    </p>
    <p>
      It goes on whether or not you stay. This page looks again every ${lookAgainSeconds} s by itself; a text
      browser may need the link below.
    </p>`;
}

function ended({ verb, outcome, settled_at }: Operation, now: number): Html {
  if (outcome === undefined) return html``;
  const { tone, headline, detail } = outcomeWords(verb, outcome);
  return html`<div role="status" class="outcome ${tone}">
    <p><strong>${marks[tone]} ${headline}</strong></p>
    ${detail !== "" && html`<p>${detail}</p>`}
    ${settled_at !== undefined && html`<p>Ended at ${utc(settled_at, now)}.</p>`}
  </div>`;
}

const notRecorded = html`<p>
  <strong class="warning">${marks.warning} Not recorded in time (durable: false).</strong> It is kept in
  memory and recorded as soon as the disk takes it; the verb itself is not touched by that.
</p>`;
