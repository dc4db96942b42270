import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import type { Question } from "../../src/server/runbooks/ask.ts";
import { loadRunbooks } from "../../src/server/runbooks/runbooks.ts";
import { systemClock } from "../../src/server/clock.ts";
import { ManualClock } from "../power/stage.ts";
import { asking, exited, lost, oneStep, ours, recorded, run } from "./stage.ts";

const folder = "runbooks";
const withMine = (...further: unknown[]) => ours(systemClock, further);
const line = (rule: Readonly<Record<string, unknown>>) => ({
  rules: [{ level: "bad", says: "Found {what}.", line: "(?<what>.+)", ...rule }],
});

test("a step that hangs costs its own time only: the others are judged, and it is not known", async () => {
  const clock = new ManualClock();
  const runbooks = await ours(clock);
  const answering = asking({ ...recorded("debian"), "df -P": "/dev/sda1 1 1 0 100% /" });
  const others = Promise.withResolvers<void>();
  let open = 0;
  const outcome = run(runbooks, "disk", async (question) => {
    if (question.command === "cat /proc/mounts") return new Promise<never>(() => {});
    open++;
    return answering(question).finally(() => {
      if (--open === 0) setTimeout(others.resolve);
    });
  });
  await others.promise;
  clock.pass(60_000);
  const { findings, unanswered, summary } = await outcome;
  expect(findings).toMatchObject([{ says: "/ is full (100 %)." }]);
  expect(unanswered).toEqual([{ step: "mounts", reason: "There was no answer within 10 s." }]);
  expect(summary).toContain("1 of 7 questions are open (mounts): what they would have shown is not known.");
});

test("nothing found while something is open is never called well", async () => {
  const answering = asking(recorded("debian"));
  const { findings, summary } = await run(await ours(), "network", async (question) =>
    question.command === "ip neigh" ? lost("no answer") : answering(question),
  );
  expect(findings).toEqual([]);
  expect(summary).toMatch(/^Whether something is wrong is not known\. 1 of/);
});

test("a guest that answers nothing is not asked everything, and then the power side is asked for evidence", async () => {
  const asked: Question[] = [];
  const outcome = await run(await ours(), "triage", async (question) => {
    asked.push(question);
    if (question.on === "guest") return lost("Connection timed out.");
    return exited(
      question.command === "status" ? "status: running\nlock: none\n" : "verdict: io-stall-suspected\n",
    );
  });
  const guest = asked.filter(({ on }) => on === "guest");
  expect(guest.length).toBe(6);
  expect(asked.at(-1)).toMatchObject({ on: "power", command: "forensics" });
  expect(outcome.findings.map(({ says }) => says)).toContain("devvm answers nothing that it was asked.");
  expect(outcome.next).toMatch(/^Cycle the machine .* A reset keeps the same process/);
  expect(outcome.summary).toContain("what they would have shown is not known");
});

test("a guest that answers is never asked for evidence of its process", async () => {
  const asked: string[] = [];
  const answering = asking(recorded("debian"));
  await run(await ours(), "triage", (question) => {
    asked.push(question.command);
    return answering(question);
  });
  expect(asked).toContain("status");
  expect(asked).not.toContain("forensics");
});

test("at most six are asked at once, each with its own time", async () => {
  let open = 0;
  let most = 0;
  const answering = asking(recorded("debian"));
  const times = new Set<number>();
  await run(await ours(), "triage", async (question) => {
    most = Math.max(most, ++open);
    times.add(question.timeoutMs);
    await new Promise((resolve) => setImmediate(resolve));
    open--;
    return answering(question);
  });
  expect(most).toBe(6);
  expect([...times].toSorted((a, b) => a - b)).toEqual([10_000, 20_000]);
});

test("the second way is taken when the first brings nothing, also when it hung while others answered", async () => {
  const step = { run: ["first", "second"], no_answer: "^nothing$", ...line({}) };
  const runbooks = await withMine({
    name: "mine",
    title: "Mine",
    steps: [
      { name: "a", run: "there" },
      { name: "b", ...step },
    ],
  });
  for (const first of [exited("", 1), exited("nothing\n"), lost("hung")]) {
    const { findings } = await run(runbooks, "mine", async ({ command }) => {
      if (command === "there") return exited("");
      await new Promise((resolve) => setImmediate(resolve));
      return command === "first" ? first : exited("what it was");
    });
    expect(findings).toMatchObject([{ says: "Found what it was." }]);
  }
});

test("whoever stops it gets their reason at once, and an unknown name is none", async () => {
  const runbooks = await ours();
  const stop = new AbortController();
  const never = () => new Promise<never>(() => {});
  const running = run(runbooks, "disk", never, stop.signal);
  const reason = new Error("stopped by ana");
  stop.abort(reason);
  await expect(running).rejects.toBe(reason);
  await expect(run(runbooks, "disk", never, stop.signal)).rejects.toBe(reason);
  expect(
    await runbooks.run("none", { target: "t", ask: never, signal: new AbortController().signal }),
  ).toBeNull();
});

test("an asking that fails is an open question, not the end", async () => {
  const { unanswered } = await run(await ours(), "network", () => Promise.reject(new Error("frozen by ana")));
  expect(unanswered[0]?.reason).toBe("It could not be asked: Error: frozen by ana");
});

test("what a guest prints is bounded and named in what is said of it", async () => {
  const hostile = [
    "\u202Ereversed\u001b[31m\u0000 <script> `code`",
    "x".repeat(1_000_000),
    ...Array.from({ length: 5_000 }, (_, n) => `line ${n}`),
  ].join("\n");
  const { findings } = await run(await withMine(oneStep(line({}))), "mine", async () => exited(hostile));
  expect(findings).toHaveLength(8);
  expect(findings[0]).toMatchObject({
    says: "Found ⟨U+202E⟩reversed⟨U+001B⟩[31m⟨U+0000⟩ <script> `code`.",
    evidence: "⟨U+202E⟩reversed⟨U+001B⟩[31m⟨U+0000⟩ <script> `code`",
  });
  expect(findings[1]!.says.length).toBeLessThan(150);
  expect(findings[1]!.evidence.length).toBeLessThan(510);
  expect(findings[7]!.says).toContain("(4994 more lines say the like.)");
});

test("output that takes too long to judge is left, and that is said", async () => {
  const costly = `${"a".repeat(1_990)}b\n`.repeat(130);
  const rule = line({ line: `(?<what>(?:a?){40}(?:a?){40}c)|b(?<b>c)` });
  const { findings, unanswered } = await run(await withMine(oneStep(rule)), "mine", async () =>
    exited(costly),
  );
  expect(findings).toEqual([]);
  expect(unanswered).toEqual([
    { step: "step", reason: "Its output takes too long to judge: not all of it was looked at." },
  ]);
});

test("a number that is not known keeps a rule from being judged, and that is said", async () => {
  const steps = [
    { name: "count", run: "count", values: { many: "^many (?<value>\\d+)" } },
    {
      name: "judge",
      run: "judge",
      rules: [{ level: "bad", says: "{n} of {many}", line: "^(?<n>\\d+)", when: "n > many" }],
    },
  ];
  const runbooks = await withMine({ name: "mine", title: "Mine", steps });
  const judged = (count: string) =>
    run(runbooks, "mine", async ({ command }) => exited(command === "count" ? count : "7\n"));
  expect((await judged("many 3")).findings).toMatchObject([{ says: "7 of 3" }]);
  expect((await judged("many 9")).findings).toEqual([]);
  expect((await judged("few")).unanswered).toMatchObject([{ step: "judge" }]);
});

test("what is wrong in a runbook is told with its place and its mend, all of it at once, and ours stays", async () => {
  const wrong = {
    name: "disk",
    title: "My disk",
    colour: "red",
    steps: [
      { name: "A b", run: "x" },
      {
        name: "rules",
        run: "x",
        rules: [
          { level: "bad", says: "{nobody}", line: "(a" },
          { level: "awful", says: "x", line: "a" },
        ],
      },
      { name: "power", on: "power", run: "cycle" },
      { use: "nothing/there" },
      { name: "when", run: "x\ny", rules: [{ level: "bad", says: "x", when: "a >" }] },
    ],
  };
  const more = [
    "a word",
    {
      ...oneStep({ rules: [{ level: "bad", says: "x {odd}", line: "a", when: "b > 1" }] }),
      name: "unknown-names",
    },
    { ...oneStep({ on: "power", run: "cycle" }), name: "power" },
    { name: "using", title: "Using", steps: [{ use: "nothing/there" }] },
    { name: "twice", title: "Twice", steps: [{ use: "disk/space" }, { name: "space", run: "df" }] },
  ];
  const { runbooks, problems } = await loadRunbooks({
    folder,
    further: [wrong, ...more],
    clock: systemClock,
  });
  const places = problems.map(({ option }) => option);
  expect(places.sort()).toEqual([
    "runbooks[0].colour",
    "runbooks[1]",
    "runbooks[2].steps[0].rules[0].says",
    "runbooks[2].steps[0].rules[0].when",
    "runbooks[3].steps[0].run",
    "runbooks[4].steps[0].use",
    "runbooks[5].steps[1]",
  ]);
  for (const { mend, stops } of problems) {
    expect(mend).toContain("This runbook is left out until then.");
    expect(stops).toBe(false);
  }
  expect(runbooks.list().find(({ name }) => name === "disk")?.title).toBe("Disk");
  const { colour: _colour, ...rest } = wrong;
  const again = await loadRunbooks({ folder, further: [rest], clock: systemClock });
  expect(again.problems.map(({ option }) => option).sort()).toEqual([
    "runbooks[0].steps[0].name",
    "runbooks[0].steps[1].rules[0].line",
    "runbooks[0].steps[1].rules[1].level",
    "runbooks[0].steps[4].rules[0].when[0]",
    "runbooks[0].steps[4].run[0]",
  ]);
});

test("one of the configuration stands in for ours of the same name, and may use its steps", async () => {
  const runbooks = await withMine({
    name: "network",
    title: "Our network",
    steps: [{ use: "disk/space" }, { name: "ping", run: "true" }],
  });
  expect(runbooks.list().find(({ name }) => name === "network")?.title).toBe("Our network");
  const full = asking({ ...recorded("debian"), "df -P": "/dev/sda1 1 1 0 100% /" });
  expect((await run(runbooks, "network", full)).findings).toMatchObject([{ step: "space" }]);
});

test("a folder that is not there is a problem, and nothing more", async () => {
  const { runbooks, problems } = await loadRunbooks({ folder: "nowhere", further: [], clock: systemClock });
  expect(runbooks.list()).toEqual([]);
  expect(problems).toHaveLength(1);
});

test.each(["docs/runbooks.md", "docs/configuration.md"])("the example in %s is one", async (file) => {
  const [, example = ""] = /```yaml\n(.*?)```/s.exec(readFileSync(file, "utf8")) ?? [];
  const { runbooks: further } = parse(example) as { readonly runbooks: readonly unknown[] };
  const { runbooks, problems } = await loadRunbooks({ folder, further, clock: systemClock });
  expect(problems).toEqual([]);
  expect(runbooks.list()).toHaveLength(7);
});

test("a runbook of the configuration, and one of ours with a step of it, say that nobody checked them", async () => {
  const says = "This is from your configuration, not checked to be read-only.";
  // Of ours those that use other steps of this one are left out.
  const { runbooks: mine } = await loadRunbooks({
    folder: "runbooks",
    further: [oneStep({}), { name: "disk", title: "Disk", steps: [{ name: "space", run: "rm -rf /none" }] }],
    clock: systemClock,
  });
  const about = (name: string) => mine.list().find((each) => each.name === name)?.about;
  for (const name of ["mine", "disk", "services"])
    expect([about(name)?.endsWith(says), mine.isOurs(name)]).toEqual([true, false]);
  expect([about("memory")?.includes(says), mine.isOurs("memory")]).toEqual([false, true]);
  const { summary } = await run(mine, "mine", async () => exited("fine"));
  expect(summary).toContain(says);
});
