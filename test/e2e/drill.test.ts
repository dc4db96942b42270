import { spawnSync } from "node:child_process";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { SessionSummary } from "../../src/protocol/api.ts";
import type { StoredEvent } from "../../src/protocol/events.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { launchBrowser, openPage, shot as keep, type Size } from "../web/browser.ts";
import { startServer, type RunningServer } from "./server.ts";

/**
 * The drill: what `npm start` brings up, in supervised mode. The agent reads as the account that owns nothing, finds the fault, and
 * asks for one command as root; an Operator decides on the page.
 */

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser("browser");
});
afterAll(() => browser.close());

const theRepair =
  "truncate -s 0 /var/log/orders-api/debug.log && systemctl restart postgresql@15-main.service";
const patience = { timeout: 90_000 };

const request = (page: Page) => page.getByRole("dialog", { name: /The agent asks/ });
const approve = (page: Page) => page.locator("button.approve:enabled");
const reports = (page: Page) => page.locator(".entry", { has: page.locator("strong", { hasText: "Now:" }) });
const shot = (page: Page, name: string) => keep(page, name, "drill");

test(
  "denied nothing is done; approved from one of two devices the fault is gone, and everybody sees by whom",
  { timeout: 300_000 },
  async () => {
    const HOME = scratchFolder();
    const server = await startServer({ env: { HOME } });
    const phone = await arrive(server, server.link!, "phone");
    const desk = await arrive(server, anotherLink(HOME), "desk");
    expect(await diskIsFull(phone)).toBe(true);

    // --- no ---
    await tapRepair(phone);
    await request(phone).getByText(theRepair).waitFor(patience);
    await request(phone).getByText("root@devvm").first().waitFor();
    await request(desk).getByText(theRepair).waitFor();
    await shot(phone, "1-asked");
    await phone.getByRole("button", { name: "Deny" }).click();
    await request(desk)
      .getByText(/^Denied by /)
      .waitFor();
    await desk.getByRole("button", { name: "Back to the session" }).click();
    await expect.poll(() => reports(phone).count(), patience).toBe(1);
    // It comes in pieces.
    await expect
      .poll(() => reports(phone).innerText(), patience)
      .toMatch(/Done: Nothing: operator denied this\. I would have run/);
    await shot(phone, "2-denied");
    expect(await diskIsFull(phone)).toBe(true);

    // --- asked again, and the phone is gone while it waits ---
    await tapRepair(phone);
    await request(phone).getByText(theRepair).waitFor(patience);
    await phone.context().setOffline(true);
    await request(desk).getByText(theRepair).waitFor();
    await shot(desk, "3-second-device");
    await phone.context().setOffline(false);
    await phone.reload();
    await request(phone).getByText(theRepair).waitFor(patience);
    await shot(phone, "4-back");

    // --- yes ---
    await approve(phone).click();
    await request(phone).getByText("Approved.", { exact: true }).waitFor();
    await request(desk)
      .getByText(/^Approved by /)
      .waitFor();
    await shot(desk, "5-decided-elsewhere");
    await expect.poll(() => reports(phone).count(), patience).toBe(2);
    await expect
      .poll(() => reports(phone).last().innerText(), patience)
      .toMatch(/As root emptied[\s\S]*No unit is failed/);
    await shot(phone, "6-repaired");
    expect(await diskIsFull(phone)).toBe(false);

    // The record alone tells it: who decided what, and that what ran is what was read.
    const sessions = (await ask(phone, "GET", "/api/sessions")) as unknown as SessionSummary[];
    const events = await eventsOf(phone, sessions.find(({ archived }) => !archived)!.session_id);
    const decisions = events.filter((event) => event.kind === "decision");
    expect(decisions.map(({ decision }) => decision)).toEqual(["denied", "approved"]);
    const asRoot = events.filter((event) => event.kind === "exec" && event.account === "root");
    expect(asRoot).toMatchObject([
      { phase: "started", command: theRepair, approval: decisions[1]!.approval },
      { phase: "settled", command: theRepair, end: { kind: "exited", code: 0 } },
    ]);
    expect(events.some((event) => event.kind === "exec" && event.account === "observe")).toBe(true);
    expect(phone.errors).toEqual([]);
    expect(desk.errors).toEqual([]);
  },
);

type Device = Page & { readonly errors: readonly string[] };

async function arrive(server: RunningServer, link: string, size: Size): Promise<Device> {
  const { page, errors, close } = await openPage(browser, size);
  onTestFinished(close);
  await page.goto(link.replace(new URL(link).origin, server.origin));
  await page.getByLabel("Message to the agent").waitFor();
  return Object.assign(page, { errors });
}

/** For another device. */
function anotherLink(HOME: string): string {
  const env = { PATH: process.env["PATH"], HOME };
  const { stdout } = spawnSync(process.execPath, ["src/cli/main.mjs", "link"], { encoding: "utf8", env });
  return /\S+#k=\S+/.exec(stdout)![0];
}

async function tapRepair(page: Page): Promise<void> {
  await page
    .getByRole("button", { name: /^Repair/ })
    .first()
    .click();
}

/** By the Runbook, which asks the machine itself and no model, in a Session of its own that nobody is shown. */
async function diskIsFull(page: Page): Promise<boolean> {
  const session = String((await ask(page, "POST", "/api/session"))["session_id"]);
  await ask(page, "PATCH", `/api/session/${session}`, { archived: true });
  await ask(page, "POST", `/api/session/${session}/runbook`, { name: "disk" });
  const settled = async () =>
    (await eventsOf(page, session)).find((event) => event.kind === "runbook" && event.phase === "settled");
  await expect.poll(settled, patience).toBeTruthy();
  const found = await settled();
  return (
    found?.kind === "runbook" &&
    found.phase === "settled" &&
    found.findings.some(({ says }) => /full/.test(says))
  );
}

async function eventsOf(page: Page, session: string): Promise<readonly StoredEvent[]> {
  const { events } = await ask(page, "GET", `/api/session/${session}/events?limit=200`);
  return events as readonly StoredEvent[];
}

async function ask(
  page: Page,
  method: string,
  path: string,
  data?: unknown,
): Promise<Record<string, unknown>> {
  const { origin } = new URL(page.url());
  const answer = await page.request.fetch(origin + path, {
    method,
    headers: { origin },
    ...(data !== undefined && { data }),
  });
  expect([path, answer.status()]).toEqual([path, 200]);
  return (await answer.json()) as Record<string, unknown>;
}
