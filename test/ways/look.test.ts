import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { TargetStatus } from "../../src/protocol/targets.ts";
import { scriptedAgent } from "../doubles/agent.ts";
import { startApp, token } from "../doubles/app.ts";
import { saw, ScriptedHypervisor } from "../power/stage.ts";
import { launchBrowser, openPage, shot, type Size } from "../web/browser.ts";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let browser: Browser;
beforeAll(async () => void (browser = await launchBrowser("shell")));
afterAll(() => browser.close());

const devvm: TargetStatus = {
  name: "devvm",
  is_default: true,
  state: "stalled",
  since: new Date(Date.now() - 95_000).toISOString(),
  evidence: [
    { probe: "guest over SSH", ok: false, seen: "no banner within 3 s", at: new Date().toISOString() },
    { probe: "hypervisor", ok: true, seen: "says running", at: new Date().toISOString() },
  ],
  power: true,
  current: null,
  last: null,
};

describe.each([
  ["phone", "dark"],
  ["desk", "light"],
] satisfies [Size, "dark" | "light"][])("on a %s, %s, without script", (size, colorScheme) => {
  test(
    "from the sign-in to a machine that is OFF, every page can be read and tapped",
    { timeout: 120_000 },
    async () => {
      const hypervisor = new ScriptedHypervisor();
      const notices = [
        { id: "store", level: "warning", text: "Nothing is recorded: the disk is full. Verbs work." },
      ] as const;
      const app = await startApp({
        agent: scriptedAgent(async () => "done"),
        hypervisor,
        targets: () => [devvm],
        notices,
      });
      const { page, errors, close } = await openPage(browser, size, {
        colorScheme,
        javaScriptEnabled: false,
      });
      onTestFinished(close);
      const seen = (name: string) => look(page, `${name}-${size}-${colorScheme}`);

      await page.goto(`${app.url}/rescue`);
      await seen("sign-in");
      await page.getByLabel(/one-time link/).fill(token);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("heading", { name: "devvm" }).waitFor();
      await seen("machines");
      await page.getByRole("button", { name: "cycle devvm…" }).click();
      await page.getByRole("heading", { name: "cycle devvm?" }).waitFor();
      await seen("confirm");
      await page.getByRole("button", { name: "cycle devvm now" }).click();
      const call = await hypervisor.next();
      call.say(
        "Gathering evidence first (at most 20 s).\nStopping VM 102 (process 12173).\nVM 102 is off.\n",
      );
      // The page comes again by itself.
      await page.getByText("VM 102 is off.").waitFor();
      await seen("running");
      call.answer({
        exit_code: 6,
        stdout: saw("stopped"),
        stderr: "start failed three times: no space on the storage\n",
      });
      await page.getByText("The machine is OFF").waitFor();
      await seen("off");
      await page.goBack();
      await page.goto(`${app.url}/rescue/operation/none`);
      await page.getByRole("alert").waitFor();
      await seen("refused");
      expect(errors).toEqual([]);
    },
  );
});

/** Keeps a picture, and holds the page to what a hand and an eye need. */
async function look(page: Page, name: string): Promise<void> {
  await shot(page, name, "rescue");
  // Without script in the page: axe runs in a copy that has the same HTML and style.
  const context = await browser.newContext({
    viewport: page.viewportSize(),
    colorScheme: name.endsWith("light") ? "light" : "dark",
  });
  const copy = await context.newPage();
  const style = await (await fetch(new URL("/rescue/style.css", page.url()))).text();
  const html = (await page.content()).replace(/<meta http-equiv[^>]*>/, "");
  await copy.setContent(html.replace("</head>", `<style>${style}</style></head>`));
  await copy.addScriptTag({ content: axe });
  const found = await copy.evaluate(async () => {
    const { violations } = await (
      globalThis as unknown as {
        axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
      }
    ).axe.run();
    const tappable = [...document.querySelectorAll("a, input:not([type=hidden])")];
    const small = tappable.filter((each) => each.getBoundingClientRect().height < 44);
    return {
      violations: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
      small: small.map((each) => each.outerHTML),
      outside: tappable
        .filter((each) => {
          const frame = each.closest("section, main")?.getBoundingClientRect();
          return frame !== undefined && each.getBoundingClientRect().right > frame.right;
        })
        .map((each) => each.outerHTML),
      wider: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    };
  });
  await context.close();
  expect({ name, ...found }).toEqual({ name, violations: [], small: [], outside: [], wider: false });
}
