import { expect, test } from "vitest";
import type { Operation } from "../../src/protocol/api.ts";
import type { SessionId } from "../../src/protocol/ids.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { eventsOf, openSessions, scratchStore } from "../doubles/sessions.ts";
import { newSession, say, turnEnded } from "./stage.ts";

const echo = scriptedAgent(async ({ prompt, report }) => {
  await report({ kind: "text", text: `You said: ${prompt}` });
  return "done";
});

const turn = "22222222-2222-4222-8222-222222222222";
const approval = "33333333-3333-4333-8333-333333333333";
const operation = "44444444-4444-4444-8444-444444444444";
const at = "2026-01-01T00:00:00.000Z";
const user = { kind: "user", text: "repair", at, turn };
const asked = {
  kind: "approval",
  approval,
  target: "devvm",
  account: "root",
  command: "systemctl restart postgresql",
  stdin: { bytes: 0, sha256: "", excerpt: "" },
  sha256: "",
  expires_at: at,
  why: "",
  at,
  turn,
};
const requested = {
  kind: "operation",
  phase: "requested",
  operation,
  target: "devvm",
  verb: "cycle",
  at,
  turn,
};

/** A Session whose log ends as a killed server left it; answers what its opening adds. */
async function opened(left: readonly { readonly kind: string }[], known?: Partial<Operation>) {
  const store = await scratchStore();
  const first = await openSessions(store, echo);
  const id: SessionId = await first.create("ana");
  await store.append(`session/${id}`, left);
  const sessions = await openSessions(store, echo, {
    operation: async () => known as Operation | undefined,
  });
  const session = (await sessions.get(id))!;
  const added = (await eventsOf(store, id)).slice(left.length);
  return { store, sessions, session, added };
}

test("what waited for an approval is void, and the next prompt goes on", async () => {
  const { store, sessions, session, added } = await opened([user, asked]);
  expect(added).toMatchObject([
    {
      kind: "decision",
      approval,
      decision: "void",
      reason: "The server stopped while it waited; nothing was run.",
      by: "breakglass",
    },
    { kind: "interrupted", unknown: [] },
    { kind: "turn_end", reason: "interrupted" },
  ]);
  expect(session.decided(approval)).toMatchObject({ decision: "void" });
  expect(await sessions.prompt(session, say("go on"))).toEqual({ kind: "started" });
  await turnEnded(store, session);
});

test("what was approved and not begun is said not to have run", async () => {
  const decided = { kind: "decision", approval, decision: "approved", by: "ana", at, turn };
  const { session, added } = await opened([user, asked, decided]);
  expect(added).toMatchObject([
    {
      kind: "exec",
      phase: "settled",
      n: 0,
      approval,
      command: asked.command,
      end: { kind: "refused", reason: expect.stringContaining("nothing was run") },
    },
    { kind: "interrupted", unknown: [] },
    { kind: "turn_end" },
  ]);
  expect(session.decided(approval)).toMatchObject({ decision: "approved", by: "ana" });
});

test("what was approved and begun may have run", async () => {
  const started = {
    kind: "exec",
    phase: "started",
    n: 0,
    target: "devvm",
    account: "root",
    command: asked.command,
  };
  const { added } = await opened([
    user,
    asked,
    { kind: "decision", approval, decision: "approved", by: "ana", at, turn } as { kind: string },
    { ...started, approval, at, turn } as { kind: string },
  ]);
  expect(added).toMatchObject([
    { kind: "exec", phase: "settled", n: 0, approval, end: { kind: "unknown" } },
    { kind: "interrupted", unknown: [`devvm: ${asked.command}`] },
    { kind: "turn_end" },
  ]);
});

test("a verb of which the record knows the end is told with it", async () => {
  const outcome = { kind: "done", state: "running", changed: true } as const;
  const { added } = await opened([user, requested], { outcome: outcome as never, durable: true });
  expect(added).toMatchObject([
    { kind: "operation", phase: "settled", operation, outcome },
    { kind: "interrupted", unknown: [] },
    { kind: "turn_end" },
  ]);
});

test("a verb of which nobody knows the end is unknown, also when its turn was over", async () => {
  const { added } = await opened([user, requested]);
  expect(added).toMatchObject([
    { kind: "operation", phase: "settled", operation, outcome: { kind: "unknown" }, turn },
    { kind: "interrupted", unknown: ["cycle on devvm"] },
    { kind: "turn_end" },
  ]);
  const over = await opened([
    user,
    requested,
    { kind: "turn_end", reason: "cancelled", at, turn } as { kind: string },
  ]);
  expect(over.added).toMatchObject([{ kind: "operation", phase: "settled", outcome: { kind: "unknown" } }]);
  expect(over.added[0]).not.toHaveProperty("turn");
});

test("a runbook that ran when the server died is interrupted like any turn", async () => {
  const runbook = {
    kind: "runbook",
    phase: "started",
    name: "disk",
    title: "Disk",
    target: "devvm",
    at,
    turn,
  };
  const { added } = await opened([runbook]);
  expect(added).toMatchObject([
    { kind: "interrupted", unknown: [] },
    { kind: "turn_end", reason: "interrupted" },
  ]);
});

test("a turn that says too much is ended, and says so", { timeout: 60_000 }, async () => {
  const store = await scratchStore();
  let said = 0;
  const chatty = scriptedAgent(async ({ report, signal }) => {
    while (!signal.aborted) {
      await report({ kind: "text", text: "x ".repeat(2 * 1024 * 1024) });
      said += 1;
    }
    await report({ kind: "text", text: "one more" });
    return "cancelled";
  });
  const sessions = await openSessions(store, chatty);
  const session = await newSession(sessions);
  await sessions.prompt(session, say("talk"));
  await turnEnded(store, session);
  expect(said).toBe(16);
  const end = await store.read(`session/${session.id}`, said, 10);
  expect(end).toMatchObject([
    { kind: "error", error: expect.stringContaining("64 MiB") },
    { kind: "turn_end", reason: "failed" },
  ]);
});
