import { expect, test } from "vitest";
import type { ConsoleNow } from "../../src/protocol/api.ts";
import { saw } from "../power/stage.ts";
import { agentPath, events, turnEnded, waits } from "./agent-path.ts";
import type { EventStream } from "./event-stream.ts";

const frozen = (stream: EventStream) =>
  (stream.named("console").at(-1)?.data as ConsoleNow | undefined)?.frozen ?? null;

test("a freeze stops the running turn, voids what waits, and is told on every device", async () => {
  const { newSession, attach, ask, prompt, answer } = await agentPath();
  const [id, other] = [await newSession(), await newSession()];
  const [phone, desk] = [await attach(id), await attach(other)];
  await prompt(id, "root@devvm echo ran");
  const [asked] = await waits(phone);
  const set = await ask("POST", "/api/freeze", { frozen: true });
  expect(set.body).toMatchObject({ frozen: { by: "ana", at: expect.any(String) }, durable: true });
  await turnEnded(phone);
  await desk.until((stream) => frozen(stream)?.by === "ana");
  expect(events(phone).slice(-2)).toMatchObject([
    { kind: "cancelled", by: "ana", reason: expect.stringContaining("froze") },
    { kind: "turn_end", reason: "cancelled" },
  ]);
  expect(events(phone).filter(({ kind }) => kind === "exec" || kind === "decision")).toMatchObject([
    { kind: "decision", decision: "void" },
  ]);
  expect((await answer(asked!, "approve")).status).toBe(409);
  for (const [path, body] of [
    ["prompt", { prompt: "devvm echo ran" }],
    ["prompt", { prompt: "devvm echo ran", key: "11111111-1111-4111-8111-111111111111" }],
  ] as const) {
    const refused = await ask("POST", `/api/session/${other}/${path}`, body);
    expect([refused.status, refused.body["detail"]]).toEqual([
      409,
      expect.stringMatching(/^ana froze all agents at \d{4}-/),
    ]);
  }
  await ask("POST", "/api/freeze", { frozen: false });
  await desk.until((stream) => frozen(stream) === null);
  expect((await prompt(other, "devvm echo thawed")).status).toBe(200);
  await turnEnded(desk);
  expect(events(desk)).toContainEqual(expect.objectContaining({ kind: "text", text: "0: thawed\n" }));
});

test("a freeze outlives the server, and verbs of operators go on", async () => {
  const first = await agentPath();
  await first.ask("POST", "/api/freeze", { frozen: true });
  const second = await agentPath({ broker: { store: () => first.stage.store } });
  const id = await second.newSession();
  const phone = await second.attach(id);
  await phone.until((stream) => stream.named("console").length > 0);
  expect(frozen(phone)).toMatchObject({ by: "ana" });
  expect((await second.prompt(id, "devvm echo ran")).status).toBe(409);
  const key = "22222222-2222-4222-8222-222222222222";
  const settled = second.stage.power.submit({ target: "devvm", verb: "cycle", key, by: "ana" });
  (await second.stage.hypervisor.next()).answer({ stdout: saw("running") });
  expect(await settled).toMatchObject({ kind: "accepted" });
});

test.each([{}, { frozen: "yes" }, { frozen: true, why: "x" }])(
  "a freeze asked for with %j is 422",
  async (body) => {
    const { ask, stage } = await agentPath();
    expect((await ask("POST", "/api/freeze", body)).status).toBe(422);
    expect(stage.broker.freeze.now()).toBeNull();
  },
);
