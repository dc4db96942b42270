import fc from "fast-check";
import type { EventBody, StoredEvent } from "../../src/protocol/events.ts";
import type { Uuid } from "../../src/protocol/ids.ts";

const toolId = fc.constantFrom("t1", "t2", "t3");
const operation = fc.constantFrom<Uuid>(
  "00000000-0000-4000-8000-000000000001",
  "00000000-0000-4000-8000-000000000002",
);
const exec = {
  n: fc.nat(3),
  target: fc.constant("devvm"),
  account: fc.constant("watch"),
  command: fc.string(),
};

const runbook = {
  name: fc.constant("triage"),
  title: fc.constant("Triage"),
  target: fc.constant("devvm"),
};

/** Any body, in any order: logs here need not make sense, they only have to fold. */
const body: fc.Arbitrary<EventBody> = fc.oneof(
  fc.record({ kind: fc.constant("user" as const), text: fc.string() }),
  fc.record({ kind: fc.constant("session" as const), session_id: fc.uuid() }),
  fc.record({ kind: fc.constant("text" as const), text: fc.string() }),
  fc.record({
    kind: fc.constant("tool" as const),
    name: fc.string(),
    input: fc.jsonValue(),
    tool_id: toolId,
  }),
  fc.record({
    kind: fc.constant("tool_result" as const),
    tool_id: toolId,
    is_error: fc.boolean(),
    text: fc.string(),
  }),
  fc.record({
    kind: fc.constant("result" as const),
    is_error: fc.boolean(),
    result: fc.string(),
    duration_ms: fc.nat(),
  }),
  fc.record({ kind: fc.constant("error" as const), error: fc.string() }),
  fc.record({ kind: fc.constant("cancelled" as const) }),
  fc.record({
    kind: fc.constant("turn_end" as const),
    reason: fc.constantFrom("done" as const, "cancelled" as const, "failed" as const, "interrupted" as const),
  }),
  fc.record({ kind: fc.constant("interrupted" as const), unknown: fc.array(fc.string()) }),
  fc.record({ kind: fc.constant("exec" as const), phase: fc.constant("started" as const), ...exec }),
  fc.record({
    kind: fc.constant("exec" as const),
    phase: fc.constant("settled" as const),
    ...exec,
    end: fc.record({ kind: fc.constant("exited" as const), code: fc.nat(255) }),
    duration_ms: fc.nat(),
    bytes: fc.nat(),
    excerpt: fc.string(),
  }),
  fc.record({
    kind: fc.constant("operation" as const),
    phase: fc.constant("requested" as const),
    operation,
    target: fc.constant("devvm"),
    verb: fc.constantFrom("cycle" as const, "stop" as const),
  }),
  fc.record({
    kind: fc.constant("operation" as const),
    phase: fc.constant("settled" as const),
    operation,
    target: fc.constant("devvm"),
    verb: fc.constantFrom("cycle" as const, "stop" as const),
    outcome: fc.record({ kind: fc.constant("refused" as const), reason: fc.string() }),
    durable: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("approval" as const),
    approval: operation,
    target: fc.constant("devvm"),
    account: fc.constant("root"),
    command: fc.string(),
    stdin: fc.record({ bytes: fc.nat(), sha256: fc.string(), excerpt: fc.string() }),
    sha256: fc.string(),
    expires_at: fc.constant("2026-01-01T00:10:00.000Z"),
    why: fc.string(),
  }),
  fc.record({
    kind: fc.constant("decision" as const),
    approval: operation,
    decision: fc.constantFrom("approved" as const, "denied" as const, "expired" as const, "void" as const),
  }),
  fc.record({
    kind: fc.constant("mode" as const),
    mode: fc.constantFrom("observe" as const, "supervised" as const, "autonomous" as const),
  }),
  fc.record({ kind: fc.constant("runbook" as const), phase: fc.constant("started" as const), ...runbook }),
  fc.record({
    kind: fc.constant("runbook" as const),
    phase: fc.constant("settled" as const),
    ...runbook,
    findings: fc.constant([]),
    unanswered: fc.constant([]),
    summary: fc.string(),
    next: fc.string(),
  }),
);

/** A whole log: ids from 0 without gaps. */
export const eventLog: fc.Arbitrary<StoredEvent[]> = fc
  .array(body, { maxLength: 40 })
  .map((bodies) => bodies.map((each, id) => ({ ...each, id, at: "2026-01-01T00:00:00.000Z" })));
