import { expect, test } from "vitest";
import type { Operation, OperationRequest } from "../../src/protocol/api.ts";
import { rig, type Opened } from "./rig.ts";

const { open } = rig();
const lastId = "44444444-4444-4444-8444-444444444444";
const path = "/api/targets/devvm/operations";

test("a cycle names the machine, the consequence and what happened last, and shows how it went", async () => {
  const opened = await openPower();
  const { page, server } = opened;
  await page.getByRole("button", { name: /^Cycle/ }).click();
  const dialog = page.getByRole("dialog", { name: "Cycle devvm?" });
  await dialog.getByText("Pulls the plug, then starts a fresh QEMU process.").waitFor();
  await dialog.getByText(/^cycled .+ ago by ana$/).waitFor();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Leave it as it is");
  await page.getByRole("button", { name: "Cycle devvm now" }).click();
  await page.getByText("Under way").waitFor();
  const [asked] = server.asked(path) as OperationRequest[];
  expect(asked).toMatchObject({ verb: "cycle", after: lastId });
  for (const line of ["forensics kept\n", "BG1 {}\n", "off is verified\n"])
    server.progress(asked!.key, {}, line);
  await page.getByText("off is verified").waitFor();
  expect(await page.getByText("BG1").count()).toBe(0);
  settle(opened, asked!.key, { kind: "done", changed: true, state: "running" });
  await page.getByText("The machine is running.").first().waitFor();
});

test("nothing is asked when the question is left", async () => {
  const { page, server } = await openPower();
  for (const verb of ["Cycle", "Reset", "Stop", "Start"]) {
    await page.getByRole("button", { name: new RegExp(`^${verb}`) }).click();
    await page.getByRole("button", { name: "Leave it as it is" }).click();
  }
  await page.getByRole("button", { name: /^Cycle/ }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog", { name: "Cycle devvm?" }).waitFor({ state: "detached" });
  expect(await page.evaluate(() => document.activeElement?.textContent)).toContain("Cycle");
  expect(server.asked(path)).toEqual([]);
});

test("status runs without a question", async () => {
  const opened = await openPower();
  opened.server.whenAsked = ({ id }) =>
    settle(opened, id, { kind: "done", changed: false, state: "running" });
  await opened.page.getByRole("button", { name: "Status" }).click();
  await opened.page.getByText('The hypervisor says "running".').first().waitFor();
});

test.each([
  "A cycle by bob is under way. Wait for it, or look at its output.",
  "bob cycled devvm after you last looked. Look again before you act.",
])("a 409 is said plainly: %s", async (detail) => {
  const { page, server } = await openPower();
  server.twists.push({ path, twist: { kind: "answer", status: 409, body: { detail } } });
  await page.getByRole("button", { name: /^Reset/ }).click();
  await page.getByRole("button", { name: "Reset devvm now" }).click();
  await page.getByText(detail).waitFor();
  await page.getByText("nothing was done").waitFor();
});

test("a lost answer is asked for again with the same key, and acts once", async () => {
  const opened = await openPower();
  const { page, server } = opened;
  const acted: Operation[] = [];
  server.whenAsked = (operation) => acted.push(operation);
  server.twists.push({ path, twist: { kind: "lose" } }, { path, twist: { kind: "lose-before" } });
  await page.getByRole("button", { name: /^Stop/ }).click();
  await page.getByRole("button", { name: "Stop devvm now" }).click();
  await expect.poll(() => server.asked(path).length).toBe(3);
  expect(new Set((server.asked(path) as OperationRequest[]).map(({ key }) => key)).size).toBe(1);
  expect(acted).toHaveLength(1);
  settle(opened, acted[0]!.id, { kind: "done", changed: true, state: "stopped" });
  await page.getByText("The machine is off, as asked.").first().waitFor();
});

test("a machine that was stopped and did not start is shown as OFF", async () => {
  const opened = await openPower();
  const reason = "The machine is OFF: it was stopped and did not start. start failed: no space left";
  opened.server.whenAsked = ({ id }) => settle(opened, id, { kind: "failed", code: 6, reason });
  await opened.page.getByRole("button", { name: /^Cycle/ }).click();
  await opened.page.getByRole("button", { name: "Cycle devvm now" }).click();
  await opened.page.getByText("The machine is OFF", { exact: true }).first().waitFor();
  await opened.page.getByText("It was stopped and did not start.").waitFor();
});

test("an outcome comes although the stream is down", async () => {
  const { page, server } = await openPower();
  await page.getByRole("button", { name: /^Start/ }).click();
  await page.getByRole("button", { name: "Start devvm now" }).click();
  await page.getByText("Under way").waitFor();
  server.streamsDown = true;
  server.dropStreams();
  const [id] = server.operations.keys();
  server.progress(
    id!,
    { outcome: { kind: "unknown", reason: "The line was lost." }, settled_at: new Date().toISOString() },
    "starting\n",
  );
  await page.getByText("Not known: the start may have been carried out.").first().waitFor();
});

test("what another operator does to the machine is seen", async () => {
  const { page, server } = await openPower();
  const requested_at = new Date().toISOString();
  const id = "66666666-6666-4666-8666-666666666666";
  server.operations.set(id, {
    id,
    target: "devvm",
    verb: "cycle",
    by: "bob",
    requested_at,
    durable: true,
    output: "",
  });
  server.setTarget({ current: { id, verb: "cycle", by: "bob", at: requested_at } });
  server.progress(id, {}, "asked QEMU to quit\n");
  await page.getByText("asked QEMU to quit").waitFor();
  await page.getByText("cycle of devvm, by bob").waitFor({ state: "attached" });
});

test("an operation that was under way before the page was opened is shown with its output", async () => {
  const { page, server } = await openPower();
  const requested_at = new Date().toISOString();
  const id = "77777777-7777-4777-8777-777777777777";
  const output = "asked QEMU to quit\n";
  server.operations.set(id, {
    id,
    target: "devvm",
    verb: "cycle",
    by: "bob",
    requested_at,
    durable: true,
    output,
  });
  server.setTarget({ current: { id, verb: "cycle", by: "bob", at: requested_at } });
  await page.reload();
  await page.getByRole("button", { name: "Power" }).click();
  await page.getByText("asked QEMU to quit").waitFor();
});

test("what was seen to happen counts as seen, before the states have caught up", async () => {
  const { page, server } = await openPower();
  const [first] = await cycle();
  server.progress(first!.key, {
    outcome: { kind: "done", changed: true, state: "running" },
    settled_at: new Date().toISOString(),
  });
  await page.getByText("The machine is running.").first().waitFor();
  const [, second] = await cycle();
  expect(second).toMatchObject({ verb: "cycle", after: first!.key });

  async function cycle(): Promise<OperationRequest[]> {
    const before = server.asked(path).length;
    await page.getByRole("button", { name: /^Cycle/ }).click();
    await page.getByRole("button", { name: "Cycle devvm now" }).click();
    await expect.poll(() => server.asked(path).length).toBe(before + 1);
    return server.asked(path) as OperationRequest[];
  }
});

async function openPower(): Promise<Opened> {
  const opened = await open({
    prepare: (server) => {
      const at = new Date(Date.now() - 40_000).toISOString();
      server.setTarget({ last: { id: lastId, verb: "cycle", by: "ana", at, outcome: "done" } });
    },
  });
  await opened.page.getByText("Connected", { exact: true }).waitFor();
  await opened.page.getByRole("button", { name: "Power" }).click();
  await opened.page.getByText("Last: cycled").waitFor();
  return opened;
}

function settle({ server }: Opened, id: string, outcome: NonNullable<Operation["outcome"]>): void {
  const at = new Date().toISOString();
  server.progress(id, { outcome, settled_at: at });
  const operation = server.operations.get(id)!;
  server.setTarget({
    current: null,
    last: { id, verb: operation.verb, by: "ana", at, outcome: outcome.kind },
  });
}
