import { expect, test } from "vitest";
import type { PendingApproval } from "../../src/protocol/api.ts";
import { approvalHashed, approvalMsMax } from "../../src/server/broker/approvals.ts";
import { handClock } from "../doubles/hand-clock.ts";
import { readToken } from "../doubles/app.ts";
import { scratchFolder, scratchStore } from "../doubles/sessions.ts";
import { agentPath, events, kinds, shown, turnEnded, waits } from "./agent-path.ts";

const someId = "00000000-0000-4000-8000-000000000000";
const none = "0".repeat(64);

test("a request is shown exactly on every device, again after a reconnect, and runs once it is approved", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const id = await newSession();
  const phone = await attach(id);
  await prompt(id, "root@devvm cat; echo \u202Edone < first");
  const [asked] = await waits(phone);
  expect(asked).toMatchObject({
    session_id: id,
    session_name: "root@devvm cat; echo \u202Edone < first",
    target: "devvm",
    account: "rescue",
    command: "cat; echo \u202Edone",
    stdin: { bytes: 5, text: "first" },
  });
  const desk = await attach(id);
  expect(await waits(desk)).toEqual([asked]);
  phone.close();
  const again = await attach(id, { "last-event-id": String(events(desk).at(-1)?.["id"]) });
  expect(await waits(again)).toEqual([asked]);
  expect(JSON.parse((await ask("GET", "/api/approvals")).text)).toEqual([asked]);

  const { sha256, approval } = asked!;
  const { stdin, target, account, command } = asked!;
  expect(sha256).toBe(
    approvalHashed({ session: id as never, approval, target, account, command, stdinSha256: stdin.sha256 }),
  );
  expect(await answer(asked!, "approve")).toMatchObject({
    status: 200,
    body: { approval, decision: "approved" },
  });
  await turnEnded(desk);
  expect(shown(desk)).toEqual([]);
  expect(events(desk)).toMatchObject([
    { kind: "user" },
    { kind: "approval", approval, by: "agent" },
    { kind: "decision", approval, decision: "approved", by: "ana" },
    { kind: "exec", phase: "started", approval, by: "agent" },
    { kind: "exec", phase: "settled", approval, end: { kind: "exited", code: 0 } },
    { kind: "text", text: expect.stringContaining("0: first") },
    { kind: "turn_end", reason: "done" },
  ]);
});

test("two devices at once: one decides, the other is told by whom", async () => {
  const { newSession, prompt, attach, answer } = await agentPath();
  const id = await newSession();
  const phone = await attach(id);
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  const both = await Promise.all([answer(asked!, "deny"), answer(asked!, "approve")]);
  expect(both.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 409]);
  const [won, lost] = both[0].status === 200 ? both : both.toReversed();
  expect(lost!.body["detail"]).toContain(`It was ${String(won!.body["decision"])} already by ana`);
  await turnEnded(phone);
  expect(events(phone).filter(({ kind }) => kind === "decision")).toHaveLength(1);
  const ran = kinds(phone).includes("exec");
  expect(ran).toBe(won!.body["decision"] === "approved");
});

test("only the request that was read can be answered: another hash, session or id decides nothing", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const [id, other] = [await newSession(), await newSession()];
  const phone = await attach(id);
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  const as = (change: Partial<PendingApproval>) => answer({ ...asked!, ...change }, "approve");
  expect((await as({ sha256: none })).status).toBe(409);
  expect((await as({ session_id: other as never })).status).toBe(404);
  expect((await as({ session_id: someId })).status).toBe(404);
  expect((await as({ approval: someId })).status).toBe(404);
  expect((await as({ approval: "../.." as never })).status).toBe(404);
  const path = `/api/session/${id}/approvals/${asked!.approval}`;
  for (const body of [{}, { decision: "approve" }, { decision: "yes", sha256: none }, { sha256: "x" }, "{"])
    expect((await ask("POST", path, body)).status).toBe(422);
  expect(shown(phone)).toEqual([asked]);
  expect((await answer(asked!, "deny")).body).toMatchObject({ decision: "denied" });
  await turnEnded(phone);
  expect(kinds(phone)).toEqual(["user", "approval", "decision", "text", "turn_end"]);
  expect(events(phone)[3]).toMatchObject({ text: expect.stringMatching(/^255: breakglass: .*denied/) });
});

test("who may only look sees what waits, and decides nothing", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const id = await newSession();
  await prompt(id, "root@devvm echo ran");
  const looking = { authorization: `Bearer ${readToken}` };
  const phone = await attach(id, looking);
  const [asked] = await waits(phone);
  for (const refused of [
    await answer(asked!, "approve", looking),
    await ask("POST", "/api/freeze", { frozen: true }, looking),
    await ask("PATCH", `/api/session/${id}`, { mode: "autonomous" }, looking),
    await ask("POST", `/api/session/${id}/runbook`, { name: "triage" }, looking),
  ])
    expect(refused.status).toBe(403);
  expect(shown(phone)).toEqual([asked]);
  await answer(asked!, "deny");
  await turnEnded(phone);
});

test("who may only look is shown no secret of what waits, and of stdin what the record has", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const id = await newSession();
  const secret = `sk-ant-api03-${"a1B2".repeat(20)}`;
  await prompt(id, `root@devvm cat; echo --password ${secret} < ${"long ".repeat(3_000)}${secret}`);
  const looking = { authorization: `Bearer ${readToken}` };
  const [desk, phone] = [await attach(id), await attach(id, looking)];
  const [[exact], [redacted]] = [await waits(desk), await waits(phone)];
  expect(exact).not.toHaveProperty("redacted");
  expect([exact!.command, exact!.stdin.text]).toEqual([
    `cat; echo --password ${secret}`,
    `${"long ".repeat(3_000)}${secret}`,
  ]);
  expect(redacted).toEqual({
    ...exact,
    command: "cat; echo --password [redacted]",
    stdin: { ...exact!.stdin, text: "long ".repeat(3_000).slice(0, 8 * 1024) },
    redacted: true,
  });
  const asked = async (path: string) => JSON.parse((await ask("GET", path, undefined, looking)).text);
  expect(await asked("/api/approvals")).toEqual([redacted]);
  expect((await asked("/api/console")).now.approvals).toEqual([redacted]);
  const desks = await ask("GET", "/api/console");
  expect((desks.body["now"] as { approvals: unknown }).approvals).toEqual([exact]);
  await answer(exact!, "deny");
  await waits(phone, 0);
});

test("what has expired cannot be approved any more", async () => {
  const clock = handClock();
  const { newSession, prompt, attach, answer } = await agentPath({ broker: { clock } });
  const id = await newSession();
  const phone = await attach(id);
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  clock.advance(approvalMsMax);
  await turnEnded(phone);
  const late = await answer(asked!, "approve");
  expect([late.status, late.body["detail"]]).toEqual([409, expect.stringContaining("expired")]);
  expect(kinds(phone)).toEqual(["user", "approval", "decision", "text", "turn_end"]);
});

test("stop voids what waits, and a late answer is told so", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const id = await newSession();
  const phone = await attach(id);
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  expect((await ask("POST", `/api/session/${id}/cancel`)).body).toEqual({ cancelled: true });
  await turnEnded(phone);
  const late = await answer(asked!, "approve");
  expect([late.status, late.body["detail"]]).toEqual([409, expect.stringContaining("void")]);
  expect(shown(phone)).toEqual([]);
  expect(kinds(phone).filter((kind) => kind === "exec")).toEqual([]);
});

test("two sessions on one target: each request is its own session's, the oldest first", async () => {
  const { newSession, prompt, attach, answer, ask } = await agentPath();
  const [one, two] = [await newSession(), await newSession()];
  const phone = await attach(one);
  const desk = await attach(two);
  await prompt(one, "root@devvm echo one");
  await waits(phone);
  await prompt(two, "root@devvm echo two");
  const both = await waits(phone, 2);
  expect(both.map(({ command }) => command)).toEqual(["echo one", "echo two"]);
  expect(await waits(desk, 2)).toEqual(both);
  const crossed = await answer({ ...both[0]!, session_id: two as never }, "approve");
  expect(crossed.status).toBe(404);
  expect((await answer(both[1]!, "approve")).status).toBe(200);
  await turnEnded(desk);
  expect(await waits(phone)).toEqual([both[0]]);
  expect(kinds(desk)).toContain("exec");
  expect(kinds(phone)).not.toContain("exec");
  await ask("POST", `/api/session/${one}/cancel`);
});

test("after a server that was killed the request is void, said so, and the next prompt goes on", async () => {
  const directory = scratchFolder();
  const before = await scratchStore(directory);
  const first = await agentPath({ store: before });
  const id = await first.newSession();
  const phone = await first.attach(id);
  await first.prompt(id, "devvm echo before\nroot@devvm echo ran");
  const [asked] = await waits(phone);
  // From here on nothing that the first one does is written: as if it were gone.
  await before.close();

  const second = await agentPath({ store: await scratchStore(directory) });
  const desk = await second.attach(id);
  await turnEnded(desk);
  expect(shown(desk)).toEqual([]);
  const late = await second.answer(asked!, "approve");
  expect([late.status, late.body["detail"]]).toEqual([409, expect.stringContaining("void")]);
  expect(events(desk).slice(-3)).toMatchObject([
    {
      kind: "decision",
      approval: asked!.approval,
      decision: "void",
      reason: expect.stringContaining("nothing was run"),
    },
    { kind: "interrupted", unknown: [] },
    { kind: "turn_end", reason: "interrupted" },
  ]);
  expect((await second.prompt(id, "devvm echo after")).status).toBe(200);
  await desk.until((stream) => events(stream).at(-1)?.["reason"] === "done");
  expect(events(desk)).toContainEqual(expect.objectContaining({ kind: "text", text: "0: after\n" }));
});

test("an answer is in the audit log with who gave it, and the request itself nowhere but in the session", async () => {
  const { newSession, prompt, attach, answer, store } = await agentPath();
  const id = await newSession();
  const phone = await attach(id);
  const secret = `sk-ant-api03-${"a1B2".repeat(20)}`;
  await prompt(id, `root@devvm cat < ${secret}`);
  const [asked] = await waits(phone);
  expect(asked!.stdin.text).toBe(secret);
  await answer(asked!, "deny");
  await turnEnded(phone);
  expect(JSON.stringify(events(phone).filter(({ kind }) => kind === "approval"))).not.toContain("a1B2");
  const audited = () => store.read("audit", -1, 100);
  await expect
    .poll(async () => (await audited()).map(({ action }) => action), { timeout: 30_000 })
    .toContainEqual(expect.stringContaining("/approvals/"));
  const entry = (await audited()).find(({ action }) => String(action).includes("/approvals/"));
  expect(entry).toMatchObject({
    actor: "ana",
    outcome: "200",
    detail: { decision: "deny", sha256: asked!.sha256 },
  });
});
