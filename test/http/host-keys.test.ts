import { expect, test } from "vitest";
import type { AcceptedHostKey } from "../../src/server/ssh/host-keys.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { startApp } from "../doubles/app.ts";

const agent = scriptedAgent(async () => "done");
const [known, shown, confirmed] = ["k", "s", "c"].map((letter) => `SHA256:${letter.repeat(43)}`);
const path = "/api/targets/devvm/host-key";
const body = { side: "hypervisor", fingerprint: confirmed };

async function ask(answer: AcceptedHostKey | null, to = path, what: unknown = body) {
  const asked: unknown[] = [];
  const app = await startApp({
    agent,
    acceptHostKey: (...request) => (asked.push(request), answer && Promise.resolve(answer)),
  });
  const { status, body: said } = await app.ask("POST", to, what);
  const records = () => app.store.read("audit", -1, 10);
  return { status, said, detail: String(said["detail"]), asked, records };
}

test("an accepted key answers with what holds now, and the record has both fingerprints and who it was", async () => {
  const { status, said, asked, records } = await ask({ kind: "accepted", known: known!, durable: true });
  expect(status).toBe(200);
  expect(said).toEqual({ target: "devvm", ...body, was: known, durable: true });
  expect(asked).toEqual([["devvm", "hypervisor", confirmed]]);
  await expect.poll(records).toContainEqual(
    expect.objectContaining({
      action: "accept host key",
      actor: "ana",
      target: "devvm",
      detail: { side: "hypervisor", old: known, new: confirmed },
    }),
  );
});

test("another key than the confirmed one is 409 with all three fingerprints", async () => {
  const { status, detail } = await ask({ kind: "another", known: known!, shown: shown! });
  expect(status).toBe(409);
  for (const words of [known, shown, confirmed, "Nothing was changed"]) expect(detail).toContain(words);
});

test.each([
  [409, "waits to be accepted", { kind: "nothing" }],
  [502, "shows none now", { kind: "silent" }],
  [404, "no target", null],
] as const)("%i: %s", async (code, words, answer) => {
  const { status, detail } = await ask(answer);
  expect([status, detail]).toEqual([code, expect.stringContaining(words)]);
});

test.each([
  { side: "guest" },
  { side: "console", fingerprint: confirmed },
  { side: "guest", fingerprint: "SHA256:short" },
  { side: "guest", fingerprint: `MD5:${"a".repeat(43)}` },
  { side: "guest", fingerprint: confirmed, force: true },
  "no json",
])("what is malformed is 422, and nobody is asked: %j", async (what) => {
  const { status, asked } = await ask({ kind: "nothing" }, path, what);
  expect([status, asked]).toEqual([422, []]);
});
