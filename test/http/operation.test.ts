import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { scriptedAgent } from "../doubles/agent.ts";
import { startApp } from "../doubles/app.ts";
import { saw, ScriptedHypervisor } from "../power/stage.ts";

const agent = scriptedAgent(async () => "done");

async function underWay() {
  const hypervisor = new ScriptedHypervisor();
  const app = await startApp({ agent, hypervisor });
  const key = randomUUID();
  const asked = await app.ask("POST", "/api/targets/devvm/operations", { verb: "cycle", key });
  expect(asked.status).toBe(202);
  const call = await hypervisor.next();
  const get = (query = "") => app.ask("GET", `/api/operations/${key}${query}`);
  return { app, key, call, get };
}

test("output is given from an offset on, counted as JavaScript counts", async () => {
  const { call, get } = await underWay();
  call.say("🚑 one\n");
  expect((await get("?after=3")).body).toMatchObject({ output: "one\n" });
  expect((await get("?after=7")).body).toMatchObject({ output: "" });
  expect((await get()).body).toMatchObject({ output: "🚑 one\n" });
});

test("an answer is held until there is more output", async () => {
  const { call, get } = await underWay();
  call.say("one\n");
  const held = get("?after=4&wait=25");
  // The next answer on this server comes first: the other is held.
  expect((await get("?after=4")).body).toMatchObject({ output: "" });
  call.say("two\n");
  expect((await held).body).toMatchObject({ output: "two\n" });
});

test("an answer is held until the Operation has settled, whatever it says until then is given at once", async () => {
  const { call, get } = await underWay();
  const held = get("?after=0&wait=25");
  call.answer({ stdout: saw("running") });
  expect((await held).body).toMatchObject({ outcome: { kind: "done" } });
  expect((await get("?after=99&wait=25")).body).toMatchObject({ outcome: { kind: "done" }, output: "" });
});

test("an answer is not held for longer than asked", async () => {
  const { get } = await underWay();
  expect((await get("?after=0&wait=0.05")).body).toMatchObject({ output: "" });
});

test("whoever hangs up while an answer is held leaves nothing behind", async () => {
  const { app, key } = await underWay();
  const listening = Promise.withResolvers<void>();
  const watch = app.power.watch.bind(app.power);
  const stopped = Promise.withResolvers<void>();
  app.power.watch = (listener) => {
    const stop = watch(listener);
    listening.resolve();
    return () => {
      stop();
      stopped.resolve();
    };
  };
  const leave = new AbortController();
  const held = fetch(`${app.url}/api/operations/${key}?wait=25`, {
    headers: app.authorization,
    signal: leave.signal,
  });
  await listening.promise;
  leave.abort();
  await expect(held).rejects.toThrow(/abort/);
  await stopped.promise;
});

test.each(["after=-1", "after=x", "wait=soon", "wait=-1"])("%s is 422 with a sentence", async (query) => {
  const { get } = await underWay();
  const { status, body } = await get(`?${query}`);
  expect([status, body["detail"]]).toEqual([422, expect.stringMatching(/^(after|wait) .*\.$/)]);
});

test("the headers of a client make nobody the owner of the control socket", async () => {
  const { url } = await startApp({ agent, hypervisor: null });
  const response = await fetch(`${url}/api/console`, { headers: { owner: "cli:root" } });
  expect(response.status).toBe(401);
});
