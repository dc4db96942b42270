import { expect, test } from "vitest";
import type { HostKeyRequest } from "../../src/protocol/api.ts";
import type { RefusedHostKey } from "../../src/protocol/targets.ts";
import type { FakeServer } from "./fake-server.ts";
import { rig, type Opened } from "./rig.ts";

const { open } = rig();
const path = "/api/targets/devvm/host-key";
const [known, shown] = [
  "m3JxpUuDFM6QvWm0b2oQ3Y0gkq3sV7Hc1tV0Y4pXn4A",
  "Zr8bYc0dQ1tq5n0wK7JfGm2uS9xL4vT6hE3pR1iOaNs",
].map((letters) => `SHA256:${letters}`);
const changed: RefusedHostKey = { side: "hypervisor", known: known!, shown: shown! };

const openRefused = (refused: RefusedHostKey) =>
  open({ prepare: (server) => server.setTarget({ refused_host_keys: [refused] }) });
const acceptedBy = (server: FakeServer) => server.asked(path) as HostKeyRequest[];

test("a changed key is told with both fingerprints, and accepted after a question that names both", async () => {
  const { page, server, errors } = await openRefused(changed);
  const notice = page.getByRole("region", { name: "Host key of the hypervisor of devvm" });
  for (const words of [
    "has changed",
    known!,
    shown!,
    "rebuilt",
    "in between",
    "Nothing was sent",
    "ssh-keygen -lf",
  ])
    await notice.getByText(words).first().waitFor();
  await notice.getByRole("button", { name: "Accept this key" }).click();
  const question = page.getByRole("dialog", { name: "Accept the key of the hypervisor of devvm?" });
  for (const words of [known!, shown!, "recorded"]) await question.getByText(words).waitFor();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Leave it refused");
  await page.keyboard.press("Escape");
  await question.waitFor({ state: "detached" });
  expect(acceptedBy(server)).toEqual([]);

  server.whenAccepted = () => server.setTarget({ refused_host_keys: [] });
  await notice.getByRole("button", { name: "Accept this key" }).click();
  await question.getByRole("button", { name: "Accept this key" }).click();
  await notice.waitFor({ state: "detached" });
  expect(acceptedBy(server)).toEqual([{ side: "hypervisor", fingerprint: shown }]);
  expect(errors).toEqual([]);
});

test("a hypervisor that was never seen is told in other words", async () => {
  const { page } = await openRefused({ ...changed, known: null });
  await page.getByText("is not known yet").waitFor();
  await page.getByText("never accepted by itself").waitFor();
  expect(await page.getByText("has changed").count()).toBe(0);
});

test("a refusal comes while the page is open, and one that goes away takes its notice along", async () => {
  const { page, server } = await open();
  await page.getByText("Connected", { exact: true }).waitFor();
  server.setTarget({ refused_host_keys: [{ ...changed, side: "guest" }] });
  await page.getByText("The host key of devvm has changed.").waitFor();
  server.setTarget({ refused_host_keys: [] });
  await page.getByText("The host key of devvm has changed.").waitFor({ state: "detached" });
});

test("a key that is another one by now is not accepted, and that is said", async () => {
  const { page, server } = await openRefused(changed);
  const detail = "The host key of the hypervisor of devvm was not accepted: it now shows another.";
  server.twists.push({ path, twist: { kind: "answer", status: 409, body: { detail } } });
  await accept({ page });
  await page.getByText(detail).waitFor();
  await page.getByRole("button", { name: "Accept this key" }).waitFor();
});

test("an answer that was lost may be asked for again", async () => {
  const { page, server } = await openRefused(changed);
  // Chromium itself sends a POST again when a kept connection breaks.
  for (let n = 0; n < 9; n++) server.twists.push({ path, twist: { kind: "lose-before" } });
  await accept({ page });
  await page.getByText("accept it again").waitFor();
  server.twists.length = 0;
  server.whenAccepted = () => server.setTarget({ refused_host_keys: [] });
  await accept({ page });
  await page.getByText("has changed").waitFor({ state: "detached" });
});

async function accept({ page }: Pick<Opened, "page">): Promise<void> {
  await page.getByRole("button", { name: "Accept this key" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Accept this key" }).click();
}

test("what comes after the first load is there when the network has gone since", async () => {
  const { page, server } = await open({ options: { serviceWorkers: "allow" } });
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.waitForFunction(() =>
    performance.getEntriesByType("resource").some(({ name }) => name.includes("/later-")),
  );
  await page.evaluate(async () => void (await navigator.serviceWorker.ready));
  await server.close();
  await page.getByRole("button", { name: /devvm/ }).first().click();
  await page.getByText("SSH-2.0-OpenSSH_9.2p1").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByText("New session").waitFor();
});

test("what did not come is said, a refused key all the same, and comes when it is asked for again", async () => {
  const { page, server, url } = await open();
  await page.route("**/later-*", (route) => route.abort());
  server.setTarget({ refused_host_keys: [changed] });
  await page.goto(`${url}/`);
  await page.reload();
  await page.getByText(`showed ${shown}`).waitFor();
  await page.getByText("This part of the page did not come").waitFor();
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("dialog").getByText("This part of the page did not come").waitFor();
  await page.unroute("**/later-*");
  await page.getByRole("dialog").getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "New session" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Accept this key" }).waitFor();
});
