import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { expect, test } from "vitest";
import { asking, lost, ours, recorded, run, type Answers } from "./stage.ts";

interface Case {
  readonly is: string;
  readonly runbook: string;
  readonly machine?: "debian" | "alpine";
  /** The guest answers nothing; the power side does. */
  readonly silent?: boolean;
  readonly answers: Answers;
  readonly findings: readonly {
    readonly bad?: string;
    readonly warning?: string;
    readonly evidence?: string;
  }[];
  readonly next?: string;
}

const cases = parse(readFileSync("test/cases/runbooks/cases.yaml", "utf8")) as readonly Case[];
const runbooks = await ours();
const names = ["triage", "memory", "disk", "services", "qemu-wedged", "network"];

test("there are the six of them, in the order of a person in a hurry", () => {
  expect(runbooks.list().map(({ name }) => name)).toEqual(names);
});

test.each(names)(
  "%s finds nothing on a healthy Debian, says so, and does not call that health",
  async (name) => {
    const { findings, unanswered, summary } = await run(runbooks, name, asking(recorded("debian")));
    expect({ findings, unanswered }).toEqual({ findings: [], unanswered: [] });
    expect(summary).toMatch(/^Nothing was found by these thresholds; all \d+ questions were answered\./);
  },
);

test.each(names)("%s works on a healthy Alpine, and names what is not there", async (name) => {
  const { findings, unanswered, summary } = await run(runbooks, name, asking(recorded("alpine")));
  expect({ findings, unanswered }).toEqual({ findings: [], unanswered: [] });
  if (name === "disk") expect(summary).toContain("Not there to be asked: io-pressure.");
});

test.each(cases)(
  "$runbook: $is",
  async ({ runbook, machine = "debian", silent, answers, findings, next }) => {
    const answering = asking({ ...recorded(machine), ...answers });
    const outcome = await run(runbooks, runbook, async (question) =>
      silent === true && question.on === "guest" ? lost() : answering(question),
    );
    const shown = outcome.findings.map(({ level, says }) => ({ [level]: says }));
    expect(shown).toEqual(findings.map(({ bad, warning }) => (bad === undefined ? { warning } : { bad })));
    findings.forEach(({ evidence }, at) => {
      if (evidence !== undefined) expect(outcome.findings[at]!.evidence).toBe(evidence);
    });
    if (next !== undefined) expect(outcome.next).toBe(next);
  },
);
