import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { scratchFolder } from "../doubles/sessions.ts";
import { launchBrowser, openPage, shot as keep, sizes, type Size } from "../web/browser.ts";
import { startServer, type RunningServer } from "./server.ts";

/** A newcomer's whole path, on what `npm start` brings up: real server, real agent, real SSH, real page. */

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser("browser");
});
afterAll(() => browser.close());

async function arrive(size: Size, server?: RunningServer) {
  const running = server ?? (await startServer());
  const device = await openPage(browser, size);
  onTestFinished(async ({ task }) => {
    if (task.result?.state === "fail") console.error(await device.page.locator("body").innerText());
    await device.close();
  });
  await device.page.goto(running.link ?? running.origin);
  await device.page.getByLabel("Message to the agent").waitFor();
  const shot = (name: string) => keep(device.page, `${name}-${size}`, "e2e");
  return { server: running, ...device, shot };
}

/** The heading under which the stand-in's last answer of a Turn ends. */
const answered = (page: Page) => page.locator("strong", { hasText: "Now:" });
const preset = (page: Page, name: string) =>
  page.getByRole("button", { name: new RegExp(`^${name}`) }).first();
const confirm = (page: Page, verb: RegExp) =>
  page.getByRole("dialog").getByRole("button", { name: verb }).last().click();

async function insideViewport(page: Page, size: Size): Promise<void> {
  const box = await page.getByLabel("Message to the agent").boundingBox();
  expect(box).not.toBeNull();
  expect(box!.y).toBeGreaterThanOrEqual(0);
  expect(box!.y + box!.height).toBeLessThanOrEqual(sizes[size].height);
}

test.each(["phone", "desk"] as const)(
  "on a %s the link opens the page, and Triage finds what is wrong on the machine",
  { timeout: 180_000 },
  async (size) => {
    const { page, errors, shot } = await arrive(size);
    expect(page.url()).not.toContain("k=");
    await insideViewport(page, size);
    await shot("1-arrived");
    await preset(page, "Triage").click();
    await answered(page).waitFor({ timeout: 90_000 });
    await page.getByText("100% full").waitFor();
    await insideViewport(page, size);
    await shot("2-triage");
    expect(errors).toEqual([]);
  },
);

test("a reload in mid-turn shows the turn go on, and nothing twice", { timeout: 180_000 }, async () => {
  const { page, errors } = await arrive("phone");
  await preset(page, "Triage").click();
  await page.locator(".entry.exec").first().waitFor({ timeout: 90_000 });
  await page.reload();
  await answered(page).waitFor({ timeout: 90_000 });
  expect(await answered(page).count()).toBe(1);
  expect(errors).toEqual([]);
});

test(
  "a wedged machine is seen, reset does not cure it, and cycle with its confirm does",
  { timeout: 300_000 },
  async () => {
    const { page, server, errors, shot } = await arrive("phone");
    const state = page.getByRole("banner").or(page.locator("header")).first();
    await expect.poll(() => state.innerText(), { timeout: 60_000 }).toMatch(/\bup\b/i);
    await page.getByRole("button", { name: /More$/ }).click();
    await page.getByRole("button", { name: "Freeze its disk" }).click();
    await expect.poll(() => state.innerText(), { timeout: 60_000 }).toMatch(/stall/i);
    await shot("3-stalled");
    await page.getByRole("button", { name: /power/i }).first().click();
    await page.getByRole("button", { name: /^reset/i }).click();
    await page.getByRole("dialog").getByText(/devvm/).first().waitFor();
    await confirm(page, /^reset/i);
    await expect
      .poll(async () => (await operations(page, server)).find(({ verb }) => verb === "reset")?.settled_at, {
        timeout: 90_000,
      })
      .toBeTruthy();
    expect(await state.innerText()).toMatch(/stall/i);
    await shot("4-reset-did-not-cure");
    await page
      .getByRole("button", { name: /^cycle/i })
      .first()
      .click();
    await shot("5-confirm");
    await confirm(page, /^cycle/i);
    await expect
      .poll(
        async () => (await operations(page, server)).find(({ verb }) => verb === "cycle")?.outcome?.kind,
        { timeout: 90_000 },
      )
      .toBe("done");
    await shot("6-cycled");
    await expect.poll(() => state.innerText(), { timeout: 60_000 }).toMatch(/\bup\b/i);
    expect(errors).toEqual([]);
  },
);

test(
  "Repair in autonomous mode repairs by itself: the disk has room and the unit runs",
  { timeout: 240_000 },
  async () => {
    const server = await startServer({ env: { BREAKGLASS_MODE: "autonomous" } });
    const { page, shot } = await arrive("phone", server);
    await preset(page, "Repair").click();
    await answered(page).waitFor({ timeout: 120_000 });
    await shot("7-repaired");
    await preset(page, "Triage").click();
    await expect.poll(() => answered(page).count(), { timeout: 120_000 }).toBe(2);
    const last = page.locator(".entry", { has: answered(page) }).last();
    expect(await last.innerText()).not.toContain("100% full");
  },
);

test(
  "free text is answered plainly: no model is configured, and how to configure one",
  { timeout: 180_000 },
  async () => {
    const { page } = await arrive("phone");
    await page.getByLabel("Message to the agent").fill("--version; what is wrong?");
    await page.getByRole("button", { name: "Send" }).click();
    await page
      .locator(".entry, article, main")
      .getByText("ANTHROPIC_API_KEY")
      .last()
      .waitFor({ timeout: 90_000 });
  },
);

test(
  "a server that dies and comes back: the page says so, attaches again, and shows the turn interrupted",
  { timeout: 240_000 },
  async () => {
    const HOME = scratchFolder();
    const first = await startServer({ env: { HOME } });
    const { page } = await arrive("phone", first);
    await preset(page, "Triage").click();
    await page.locator(".entry.exec").first().waitFor({ timeout: 90_000 });
    await first.end("SIGKILL");
    await page.getByText("Reconnecting", { exact: true }).waitFor();
    await startServer({ env: { HOME, BREAKGLASS_LISTEN: new URL(first.origin).host } });
    await page.getByText("Connected", { exact: true }).waitFor({ timeout: 60_000 });
    await page
      .getByText(/interrupted/i)
      .first()
      .waitFor();
  },
);

interface Seen {
  readonly verb: string;
  readonly settled_at?: string;
  readonly outcome?: { readonly kind: string };
}

async function operations(page: Page, server: RunningServer): Promise<readonly Seen[]> {
  const answer = await page.request.get(`${server.origin}/api/targets/devvm/operations`);
  return (await answer.json()) as Seen[];
}
