import { expect, test } from "vitest";
import { repairPreset } from "../../demo/presets.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { signIn, startServer } from "../e2e/server.ts";
import { events, shown, turnEnded, waits } from "./agent-path.ts";
import { EventStream } from "./event-stream.ts";

type Visitor = Awaited<ReturnType<typeof visit>>;

/** The real server with its demo machine, its agent and the stand-in for the model, and a device signed in. */
async function visit(home: string) {
  const server = await startServer({ env: { HOME: home } });
  const { ask, headers } = await signIn(server);
  const attach = (id: string) =>
    EventStream.open(`${server.origin}/api/session/${id}/stream?watch=1`, headers);
  return { server, ask, attach };
}

async function supervisedSession({ ask }: Visitor): Promise<string> {
  const id = String((await ask("POST", "/api/session")).body["session_id"]);
  await ask("PATCH", `/api/session/${id}`, { mode: "supervised" });
  return id;
}

const path = (id: string, approval: string) => `/api/session/${id}/approvals/${approval}`;

test(
  "killed while the agent waits for an approval: void, said so, and the next turn asks again and repairs",
  { timeout: 180_000 },
  async () => {
    const home = scratchFolder();
    const first = await visit(home);
    const id = await supervisedSession(first);
    const phone = await first.attach(id);
    await first.ask("POST", `/api/session/${id}/prompt`, { prompt: repairPreset.prompt });
    const [asked] = await waits(phone);
    await first.server.end("SIGKILL");

    const second = await visit(home);
    const desk = await second.attach(id);
    await turnEnded(desk);
    expect(shown(desk)).toEqual([]);
    expect(events(desk).slice(-3)).toMatchObject([
      { kind: "decision", approval: asked!.approval, decision: "void", by: "breakglass" },
      { kind: "interrupted", unknown: [] },
      { kind: "turn_end", reason: "interrupted" },
    ]);
    const { sha256 } = asked!;
    const late = await second.ask("POST", path(id, asked!.approval), { decision: "approve", sha256 });
    expect([late.status, late.body["detail"]]).toEqual([409, expect.stringContaining("void")]);
    expect((await second.ask("GET", `/api/session/${id}`)).body["mode"]).toEqual({ mode: "supervised" });

    await second.ask("POST", `/api/session/${id}/prompt`, { prompt: repairPreset.prompt });
    const [again] = await waits(desk);
    expect(again!.approval).not.toBe(asked!.approval);
    await second.ask("POST", path(id, again!.approval), { decision: "approve", sha256: again!.sha256 });
    await desk.until((stream) => events(stream).at(-1)?.["reason"] === "done");
    expect(events(desk)).toContainEqual(
      expect.objectContaining({
        kind: "exec",
        phase: "settled",
        approval: again!.approval,
        end: { kind: "exited", code: 0 },
      }),
    );
  },
);

test("killed while frozen: it is frozen again, until it is lifted", { timeout: 180_000 }, async () => {
  const home = scratchFolder();
  const first = await visit(home);
  const id = await supervisedSession(first);
  expect((await first.ask("POST", "/api/freeze", { frozen: true })).body).toMatchObject({ durable: true });
  await first.server.end("SIGKILL");

  const second = await visit(home);
  const prompt = () => second.ask("POST", `/api/session/${id}/prompt`, { prompt: "hello" });
  expect(await prompt()).toMatchObject({
    status: 409,
    body: { detail: expect.stringContaining("froze all agents") },
  });
  expect((await second.ask("POST", "/api/pve/status")).status).toBe(200);
  await second.ask("POST", "/api/freeze", { frozen: false });
  expect((await prompt()).status).toBe(200);
});
