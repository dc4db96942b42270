import { html } from "hono/html";
import type { Notice, Operation } from "../../../protocol/api.ts";
import type { Evidence, OperationBrief, TargetStatus } from "../../../protocol/targets.ts";
import { verbs, type Verb } from "../../../protocol/verbs.ts";
import { ago, outcomeWords, span, stateWords } from "../../../protocol/words.ts";
import { hidden, marks, page, submit, utc, type Html } from "./page.ts";

/** Who looks. */
export interface Visitor {
  readonly name: string;
  /** The token of their forms; null: they may only look. */
  readonly form: string | null;
}

interface Machine {
  readonly target: TargetStatus;
  /** The newest mutating Operation that does not hold the Target; without an outcome its end is not known yet. */
  readonly last: Operation | null;
}

export function machinesPage(shown: {
  readonly machines: readonly Machine[];
  readonly notices: readonly Notice[];
  readonly visitor: Visitor;
  readonly now: number;
}): Html {
  const { machines, notices, visitor, now } = shown;
  const at = utc(new Date(now).toISOString(), now);
  return page(
    "All machines",
    html`<h1>All machines</h1>
      <p>As seen at ${at}. <a class="tap" href="/rescue">Look again</a></p>
      ${notices.length > 0 && noticeList(notices)}
      ${machines.map((machine) => machineSection(machine, visitor, now))}
      ${machines.length === 0 && html`<p>No machine is configured: set BREAKGLASS_PVE_HOST and restart.</p>`}
      <footer>
        <p>
          Signed in as ${visitor.name}${visitor.form === null && ", who may only look"}.
          <a class="tap" href="/">The page with everything</a> needs JavaScript.
        </p>
      </footer>`,
  );
}

/** The state in a word and a shape, and since when. */
export function stateLine({ state, since }: TargetStatus, now: number): Html {
  const { word, tone } = stateWords[state];
  return html`<p>
    <strong class="${tone}">${marks[tone]} ${word}</strong> for ${span(now - Date.parse(since))}, since
    ${utc(since, now)}
  </p>`;
}

/** How the last mutating Operation ended, by whom and when. */
export function lastLine(last: Operation | null, now: number): Html {
  if (last === null) return html`<p>Nothing was done to it as far as is recorded.</p>`;
  if (last.outcome === undefined) return openLine(last, now);
  const { headline, tone } = outcomeWords(last.verb, last.outcome);
  const at = last.settled_at ?? last.requested_at;
  return html`<p>
    Last: ${last.verb} by ${last.by}, ${ago(at, now)} (${utc(at, now)}):
    <strong class="${tone}">${marks[tone]} ${headline}</strong>
    <a class="tap" href="/rescue/operation/${last.id}">What it said</a>
  </p>`;
}

/** After a restart of the server: the hypervisor is asked what became of it. */
function openLine({ id, verb, by, requested_at }: Operation, now: number): Html {
  return html`<p>
    <strong class="warning"
      >${marks.warning} Last: ${verb} by ${by}, ${ago(requested_at, now)}: its end is not known yet.</strong
    >
    The hypervisor is being asked, and it may still go on there.
    <a class="tap" href="/rescue/operation/${id}">Watch it</a>
  </p>`;
}

function machineSection({ target, last }: Machine, visitor: Visitor, now: number): Html {
  const { name, current, evidence, power } = target;
  const id = `machine-${name}`;
  return html`<section aria-labelledby="${id}">
    <h2 id="${id}">${name}</h2>
    ${stateLine(target, now)}
    <ul>
      ${evidence.map((each) => evidenceLine(each, now))}
    </ul>
    ${current !== null && currentLine(current, now)}
    ${current === null && !isOpen(last) && html`<p>Nothing is under way on it.</p>`} ${lastLine(last, now)}
    ${!power && html`<p>No hypervisor is configured for it: there are no verbs. Set BREAKGLASS_PVE_HOST.</p>`}
    ${power && visitor.form !== null && verbForms(name, visitor.form)}
  </section>`;
}

function isOpen(last: Operation | null): boolean {
  return last !== null && last.outcome === undefined;
}

function evidenceLine({ probe, ok, seen, at }: Evidence, now: number): Html {
  return html`<li>
    ${probe}: <span class="${ok ? "good" : "danger"}">${ok ? "ok" : "FAILED"}</span>, ${seen}
    (${utc(at, now)})
  </li>`;
}

function currentLine({ id, verb, by, at }: OperationBrief, now: number): Html {
  return html`<p>
    <strong class="warning">${marks.warning} Under way:</strong> ${verb} by ${by}, for
    ${span(now - Date.parse(at))}.
    <a class="tap" href="/rescue/operation/${id}">Watch it</a>
  </p>`;
}

/** Cycle first: it is the cure for what stops a machine from answering. What changes a machine is confirmed on a page of its own. */
const offered: readonly Verb[] = ["cycle", "status", "forensics", "reset", "stop", "start"];

function verbForms(target: string, form: string): Html {
  return html`<div class="verbs">
    ${offered.map((verb) => (verbs[verb].mutating ? toConfirm(target, verb) : atOnce(target, verb, form)))}
  </div>`;
}

function toConfirm(target: string, verb: Verb): Html {
  const path = `/rescue/confirm/${encodeURIComponent(target)}/${verb}`;
  return html`<form method="get" action="${path}">
    ${submit(`${verb} ${target}…`, verb === "cycle" ? "main" : "plain")}
  </form>`;
}

function atOnce(target: string, verb: Verb, form: string): Html {
  return html`<form method="post" action="/rescue/operate/${encodeURIComponent(target)}">
    ${hidden("form", form)} ${hidden("verb", verb)} ${submit(`${verb} ${target}`, "plain")}
  </form>`;
}

function noticeList(notices: readonly Notice[]): Html {
  return html`<aside aria-label="Notices">
    <ul>
      ${notices.map(({ level, text }) => {
        const tone = level === "warning" ? "warning" : "quiet";
        return html`<li><span class="${tone}">${marks[tone]}</span> ${text}</li>`;
      })}
    </ul>
  </aside>`;
}
