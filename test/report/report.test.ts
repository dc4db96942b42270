import { randomUUID } from "node:crypto";
import { marked, type Token } from "marked";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { EventBody } from "../../src/protocol/events.ts";
import { emptyReport } from "../../src/protocol/report/draft.ts";
import { finishReport } from "../../src/protocol/report/finish.ts";
import { reportMarkdown } from "../../src/protocol/report/markdown.ts";
import type { Report } from "../../src/protocol/report/report.ts";
import { takeRecord } from "../../src/protocol/report/take.ts";
import { createPower } from "../../src/server/power/power.ts";
import { reportOf } from "../../src/server/sessions/report.ts";
import { StoreError, type Store } from "../../src/server/store/store.ts";
import { scratchStore } from "../doubles/sessions.ts";
import { ManualClock, MemoryStore, newKey, saw, ScriptedHypervisor } from "../power/stage.ts";
import { eventLog } from "../protocol/arbitrary.ts";

const session = "00000000-0000-4000-8000-00000000000a";
const approval = "00000000-0000-4000-8000-00000000000b";
const refusedApproval = "00000000-0000-4000-8000-00000000000c";
const summary = {
  session_id: session,
  name: "devvm is slow",
  created_at: "2026-01-01T00:00:00.000Z",
  by: "ana",
  archived: false,
  running: false,
} as const;

const on = { target: "devvm", account: "looker" };
const settled = { duration_ms: 12, bytes: 0, excerpt: "" };
const asked = {
  kind: "approval",
  target: "devvm",
  account: "root",
  stdin: { bytes: 3, sha256: "s".repeat(64), excerpt: "ok\n" },
  sha256: "f".repeat(64),
  expires_at: "2026-01-01T00:10:00.000Z",
  why: "The account root on devvm is privileged.",
} as const;

/** One of everything that a Session's log may have. */
const everything: readonly (EventBody & { readonly by?: string; readonly turn?: typeof session })[] = [
  { kind: "user", text: "It is slow.", by: "ana", turn: session },
  { kind: "session", session_id: "agent" },
  { kind: "mode", mode: "autonomous", until: "2026-01-01T00:30:00.000Z", back_to: "supervised", by: "ana" },
  { kind: "text", text: "I look at the disk." },
  { kind: "tool", name: "Bash", input: { command: "ssh devvm df" }, tool_id: "t" },
  { kind: "exec", phase: "started", n: 0, ...on, command: "df -h", by: "agent" },
  {
    kind: "exec",
    phase: "settled",
    n: 0,
    ...on,
    command: "df -h",
    end: { kind: "exited", code: 0 },
    ...settled,
    bytes: 9_999_999,
    excerpt: "/dev/sda1 100% /",
    cut: { bytes: 9_999_999, whole: `/api/session/${session}/exec/0` },
    by: "agent",
  },
  { kind: "tool_result", tool_id: "t", is_error: false, text: "full" },
  { ...asked, approval, command: "rm /var/log/debug.log" },
  { kind: "decision", approval, decision: "approved", by: "kim" },
  {
    kind: "exec",
    phase: "started",
    n: 1,
    target: "devvm",
    account: "root",
    command: "rm /var/log/debug.log",
    approval,
  },
  {
    kind: "exec",
    phase: "settled",
    n: 1,
    target: "devvm",
    account: "root",
    command: "rm /var/log/debug.log",
    approval,
    end: { kind: "unknown", reason: "The line was lost." },
    ...settled,
  },
  { ...asked, approval: refusedApproval, account: "hypervisor", command: "cycle" },
  { kind: "decision", approval: refusedApproval, decision: "denied", by: "kim" },
  {
    kind: "exec",
    phase: "settled",
    n: 2,
    ...on,
    command: "scp a b:",
    end: { kind: "refused", reason: "remote to remote" },
    ...settled,
  },
  { kind: "exec", phase: "started", n: 3, ...on, account: "hypervisor", command: "status" },
  {
    kind: "exec",
    phase: "settled",
    n: 3,
    ...on,
    account: "hypervisor",
    command: "status",
    end: { kind: "exited", code: 0 },
    ...settled,
    bytes: 16,
    excerpt: "status: running\n",
  },
  { kind: "exec", phase: "started", n: 4, ...on, command: "sleep 1000" },
  { kind: "operation", phase: "requested", operation: newKey(), target: "devvm", verb: "cycle" },
  { kind: "error", error: "The model is gone." },
  { kind: "result", is_error: false, result: "", duration_ms: 61_000, cost_usd: 0.25 },
  { kind: "text", text: "**Found:** a log filled the disk.\n**Done:** removed it.\n**Now:** it runs." },
  { kind: "text", text: "Anything else?" },
  { kind: "turn_end", reason: "done" },
  { kind: "runbook", phase: "started", name: "triage", title: "Triage", target: "devvm", by: "ana" },
  {
    kind: "runbook",
    phase: "settled",
    name: "triage",
    title: "Triage",
    target: "devvm",
    findings: [{ level: "bad", step: "space", says: "/ is full (100 %).", evidence: "/dev/sda1 100% /" }],
    unanswered: [{ step: "kernel", reason: "no rights" }],
    summary: "/ is full (100 %).",
    next: "Find what grew.",
  },
  { kind: "cancelled" },
  { kind: "interrupted", unknown: ["devvm: sleep 1000"] },
  { kind: "turn_end", reason: "interrupted" },
];

test("the whole incident is told from the record: every kind of event, and what an operator did to the power meanwhile", async () => {
  const store = await scratchStore();
  const clock = new ManualClock();
  for (const event of everything) {
    await store.append(`session/${session}`, [{ ...event, at: clock.now().toISOString() }]);
    clock.pass(1_000);
  }
  const hypervisor = new ScriptedHypervisor();
  const power = createPower({
    targets: new Map([["devvm", hypervisor]]),
    store,
    comesBack: new Map(),
    clock,
    newId: randomUUID,
    verbTimeoutMs: 600_000,
    log: () => {},
  });
  const submitted = await power.submit({ target: "devvm", verb: "cycle", key: newKey(), by: "ana" });
  const call = await hypervisor.next();
  call.say(`forensics\nstopping\n${saw("running", { state_before: "stalled" })}`);
  call.show({ probe: "qmp", end: "hung", output: "no answer" });
  call.answer({
    stdout: saw("running", {
      forensics_id: "20260101-102",
      verdict: "io-stall-suspected",
    }),
  });
  if (submitted.kind === "accepted") await submitted.settled;

  const report = await reportOf({ store, power, clock, defaultTarget: "devvm" }, session, summary);
  expect(report).toMatchObject({
    session: { name: "devvm is slow", by: "ana" },
    stands: { running: false, waiting: 0, targets: [{ target: "devvm" }] },
    agent: { text: expect.stringMatching(/^\*\*Found:\*\* a log/) as string },
    cost: { turns: 2, usd: 0.25, duration_ms: 61_000 },
    integrity: {
      head: everything.length - 1,
      events: everything.length,
      damaged: 0,
      not_understood: 0,
      missing: null,
    },
  });
  expect(report.commands.first).toMatchObject([
    { n: 0, by: "agent", ended: { says: "exit code 0" }, output: { path: `/api/session/${session}/exec/0` } },
    { n: 1, approval, ended: { says: "not known: The line was lost." }, output: null },
    { n: 2, ended: { says: "not run: remote to remote" } },
    { n: 3, output: { event: 16, cut: false } },
    { n: 4, ended: null },
  ]);
  expect(report.approvals.first).toMatchObject([
    { command: "rm /var/log/debug.log", decided: { decision: "approved", by: "kim" } },
    { command: "cycle", decided: { decision: "denied" } },
  ]);
  expect(report.operations.first).toMatchObject([
    {
      verb: "cycle",
      by: "ana",
      says: "The machine is running. It is up when it answers.",
      forensics: { verdict: "io-stall-suspected", probes: [{ probe: "qmp", end: "hung" }] },
    },
  ]);
  const [devvm] = report.stands.targets;
  expect(devvm!.before).toContainEqual(expect.objectContaining({ side: "power", says: '"running"' }));
  expect(devvm!.now).toEqual([
    expect.objectContaining({ side: "guest", says: "did not answer" }),
    expect.objectContaining({ side: "power", says: '"running"', by: "after cycle" }),
  ]);
  expect(report.in_short).toEqual([
    "1 prompt, 1 runbook, 2 turns ended (1 interrupted).",
    "5 commands asked for, 1 of them not run; the end of 1 is not on record.",
    "2 approvals asked: 1 approved, 1 denied, 0 expired, 0 void.",
    "The power was touched: cycle on devvm by ana.",
  ]);
  const markdown = reportMarkdown(report);
  for (const said of [
    "rm /var/log/debug.log",
    "io-stall-suspected",
    "/ is full (100 %).",
    "by `kim`",
    "removed it",
  ])
    expect(markdown).toContain(said);
});

const facts = {
  session: summary,
  madeAt: "2026-01-01T01:00:00.000Z",
  operations: [],
  damaged: 0,
  missing: null,
};
const folded = (records: readonly unknown[]): Report => {
  const draft = emptyReport();
  for (const record of records) takeRecord(draft, record);
  return finishReport(draft, facts);
};

test("no log makes it throw, whether it makes sense or not", () => {
  const junk = fc.record(
    {
      id: fc.nat(100),
      at: fc.string(),
      kind: fc.constantFrom(
        "user",
        "exec",
        "operation",
        "approval",
        "decision",
        "mode",
        "runbook",
        "result",
        "interrupted",
        "turn_end",
        "new",
      ),
      phase: fc.constantFrom("started", "settled", "requested", "odd"),
      n: fc.nat(3),
      ...Object.fromEntries(
        [
          "text",
          "target",
          "account",
          "command",
          "approval",
          "decision",
          "expires_at",
          "mode",
          "name",
          "title",
          "operation",
          "verb",
          "reason",
        ].map((field) => [field, fc.string({ unit: "binary" })]),
      ),
      ...Object.fromEntries(
        [
          "end",
          "cut",
          "findings",
          "unanswered",
          "unknown",
          "stdin",
          "duration_ms",
          "is_error",
          "excerpt",
          "why",
          "summary",
        ].map((field) => [field, fc.jsonValue()]),
      ),
    },
    { requiredKeys: ["id", "at", "kind"] },
  );
  fc.assert(
    fc.property(fc.oneof(eventLog, fc.array(fc.oneof(junk, fc.jsonValue()))), (log) => {
      const report = folded(log);
      expect(report.integrity.events + report.integrity.not_understood).toBe(log.length);
      expect(reportMarkdown(report)).toContain("## Integrity");
    }),
  );
});

const nasty = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "<script>alert(1)</script>",
    "[click](https://evil.example)",
    "https://evil.example www.evil.example a@evil.example",
    "![x](http://evil.example/x.png)",
    "```\n# I am a heading\n```",
    "``` ````` `",
    "`` ` ``",
    "x\n\n# heading\n\n<b>bold</b>",
    "x\r\n~~~\n- item",
    "\u202Egnp.exe\u0000\u001b[31m",
    "[ref]: https://evil.example",
    "<!-- ",
    "`",
    " ` ",
  ),
);

test("whatever is in the record, Markdown makes no HTML, no link and no heading of it", () => {
  fc.assert(
    fc.property(fc.array(nasty, { minLength: 12, maxLength: 12 }), (words) => {
      const [a, b, c, d, e, f, g, h, i, j, k, l] = words as [
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
        string,
      ];
      const stamp = { at: "2026-01-01T00:00:00.000Z" };
      const log = [
        { kind: "user", text: a, by: b },
        { kind: "text", text: `Found: ${c}` },
        {
          kind: "exec",
          phase: "settled",
          n: 0,
          target: d,
          account: e,
          command: f,
          end: { kind: "unknown", reason: g },
          ...settled,
        },
        { ...asked, approval, command: h, why: i },
        { kind: "decision", approval, decision: j, reason: k, by: l },
        { kind: "mode", mode: a },
        {
          kind: "runbook",
          phase: "settled",
          name: a,
          title: b,
          target: c,
          findings: [{ level: "bad", step: d, says: e, evidence: f, next: g }],
          unanswered: [{ step: h, reason: i }],
          summary: j,
          next: k,
        },
      ].map((event, id) => ({ ...event, ...stamp, id }));
      const draft = emptyReport();
      for (const record of log) takeRecord(draft, record);
      const markdown = reportMarkdown(
        finishReport(draft, { ...facts, session: { ...summary, name: l, by: a }, missing: b }),
      );
      const { links, html, headings } = shapesIn(marked.lexer(markdown));
      expect({ links, html }).toEqual({ links: [], html: [] });
      expect(headings.slice(1)).toEqual([
        "In short",
        "How it stands",
        "Findings",
        "Power",
        "Approvals",
        "Commands",
        "Modes",
        "Timeline",
        "Cost",
        "Integrity",
      ]);
      expect(markdown).not.toMatch(/(?![\n\t])[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
    }),
  );
});

/** What a reader of Markdown would make of it. */
function shapesIn(tokens: readonly Token[]) {
  const found = { links: [] as string[], html: [] as string[], headings: [] as string[] };
  const walk = (token: Token): void => {
    if (token.type === "link" || token.type === "image") found.links.push(token.raw);
    if (token.type === "html") found.html.push(token.raw);
    if (token.type === "heading") found.headings.push(String((token as { text?: unknown }).text));
    if ("tokens" in token) token.tokens?.forEach(walk);
    if (token.type === "list") (token as { items: Token[] }).items.forEach(walk);
  };
  tokens.forEach(walk);
  return found;
}

test("a log without end gives a report of bounded length, which says what it left out", () => {
  const draft = emptyReport();
  const command = "x".repeat(100_000);
  for (let n = 0; n < 20_000; n++) {
    const stamp = { id: n, at: "2026-01-01T00:00:00.000Z" };
    takeRecord(draft, { kind: "exec", phase: "started", n, ...on, target: `t${n}`, command, ...stamp });
  }
  const report = finishReport(draft, facts);
  const markdown = reportMarkdown(report);
  expect(report.commands).toMatchObject({ left_out: 19_000 });
  expect(report.commands.first[0]!.n).toBe(0);
  expect(report.commands.last.at(-1)!.n).toBe(19_999);
  expect(report.stands.targets.length).toBe(50);
  expect(markdown).toContain("(19000 commands are left out here; the record has them.)");
  expect(markdown.length).toBeLessThan(8_000_000);
});

test("damaged events are counted and left out, a disk that fails is told, and operations stand without their evidence", async () => {
  const memory = new MemoryStore();
  const clock = new ManualClock();
  for (const text of ["one", "two", "three"])
    await memory.append(`session/${session}`, [{ kind: "text", text, at: clock.now().toISOString() }]);
  memory.damaged.set(`session/${session}`, new Set([1]));
  const operation = {
    id: newKey(),
    target: "devvm",
    verb: "cycle",
    by: "ana",
    requested_at: "2026-01-01T00:00:01.000Z",
    durable: false,
    output: "",
  } as const;
  const power = {
    history: () => [operation],
    get: () => Promise.reject(new StoreError("unwritable", "The file cannot be opened.")),
  };
  const deps = { store: memory as Partial<Store> as Store, power, clock, defaultTarget: "devvm" };
  const report = await reportOf(deps, session, summary);
  expect(report.integrity).toMatchObject({
    head: 2,
    events: 2,
    damaged: 1,
    missing: "Output and evidence of 1 operations could not be read now; ask again later.",
  });
  expect(report.operations.first).toMatchObject([{ says: "Its end is not known yet.", durable: false }]);
  expect(report.stands.targets).toMatchObject([
    { target: "devvm", now: [{ side: "power", says: "not known: how cycle ended is not known" }] },
  ]);
  memory.readFault = "refuse";
  expect((await reportOf(deps, session, undefined)).integrity.missing).toContain(
    "could not be read to its end",
  );
});

test("what another session's time saw is not in it", async () => {
  const memory = new MemoryStore();
  const clock = new ManualClock();
  const at = (requested_at: string) =>
    ({
      id: newKey(),
      target: "devvm",
      verb: "cycle",
      by: requested_at,
      requested_at,
      durable: true,
      output: "",
    }) as const;
  const all = [
    at("2025-12-31T23:59:59.000Z"),
    at("2026-01-01T00:29:00.000Z"),
    at("2026-01-01T00:31:00.000Z"),
  ];
  const power = { history: () => all, get: async (id: string) => all.find((each) => each.id === id) };
  const deps = { store: memory as Partial<Store> as Store, power, clock, defaultTarget: "devvm" };
  const report = await reportOf(deps, session, summary);
  expect(report.operations.first.map(({ by }) => by)).toEqual(["2026-01-01T00:29:00.000Z"]);
});
