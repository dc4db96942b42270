import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

/** A phone in one hand, and a desk. */
export const sizes = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } } as const;
export type Size = keyof typeof sizes;

/** Waits of a test for the page; a machine that is busy with other tests is slow. Below the limit of a whole test. */
const patienceMs = 30_000;

const artifacts = join(import.meta.dirname, "..", "..", "artifacts");

/** Chromium as people have it. */
const chromiumPath = "/usr/bin/chromium";
/** The same engine without the browser around it: a page costs a third, of which most is the window that nobody sees. */
const shellPath = "/usr/bin/chromium-headless-shell";

/** Without a window. The whole browser where the whole way is tried; the page alone runs in the shell where there is one. */
export async function launchBrowser(what: "browser" | "shell"): Promise<Browser> {
  const { IS_SANDBOX: _, ...env } = process.env;
  return chromium.launch({
    executablePath: what === "shell" && existsSync(shellPath) ? shellPath : chromiumPath,
    headless: true,
    env: env,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
}

/** A page with a device of its own (cookies, storage). Errors of its scripts and of the policy are collected. */
export async function openPage(
  browser: Browser,
  size: Size,
  options: BrowserContextOptions = {},
): Promise<{ page: Page; errors: string[]; close: () => Promise<void> }> {
  const touch = size === "phone" ? { hasTouch: true, isMobile: true } : {};
  const context = await browser.newContext({
    viewport: sizes[size],
    locale: "en-GB",
    colorScheme: "dark",
    // What turns and pulses for ever is drawn for nobody.
    reducedMotion: "reduce",
    // Keeping the page for times without a network is a third of the work of opening it: allowed where it is tested.
    serviceWorkers: "block",
    ...touch,
    ...options,
  });
  context.setDefaultTimeout(patienceMs);
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
      errors.push(message.text());
  });
  return { page, errors, close: () => context.close() };
}

/** Keeps a picture for people to look at, in artifacts/<folder>/<name>.png. */
export async function shot(page: Page, name: string, folder = "web"): Promise<void> {
  await mkdir(join(artifacts, folder), { recursive: true });
  await page.screenshot({ path: join(artifacts, folder, `${name}.png`), animations: "disabled" });
}
