import type { Locator, Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import type { Notice, Preset } from "../../src/protocol/api.ts";
import { shot } from "./browser.ts";
import type { FakeServer } from "./fake-server.ts";
import { rig } from "./rig.ts";

const { open } = rig();

/** What each part may take of a phone, pixels of CSS. */
const headerPxMax = 64;
const foldedPxMax = 46;

const demo: Notice = {
  id: "demo",
  level: "info",
  text: "Demo: the machine is simulated, reached over real SSH. Something is wrong on it.",
  action: { label: "Freeze its disk", path: "/api/demo/freeze" },
};
const noModel: Notice = {
  id: "model",
  level: "info",
  text: "No model is configured: a scripted stand-in plays the presets. Set ANTHROPIC_API_KEY and restart.",
};
const warning: Notice = {
  id: "store",
  level: "warning",
  text: "Nothing is recorded: the disk of this server is full. Make room; Power works meanwhile.",
};

describe.each(["phone", "desk"] as const)("on a %s", (size) => {
  test("the empty page starts at its top, and every preset is in view", async () => {
    const { page } = await open({
      size,
      prepare: (server) => {
        say(server, demo, noModel);
        const about = "Does the guest answer, what does the hypervisor see, is a cycle needed?";
        const repair = { name: "Repair", prompt: "Repair it.", about };
        server.facts = { ...server.facts, presets: [...server.facts.presets, repair] };
      },
    });
    await page.getByRole("button", { name: "Repair" }).waitFor();
    await wholeInView(page, page.getByRole("heading", { name: "What is wrong with devvm?" }));
    for (const preset of await page.getByRole("list", { name: "Presets" }).getByRole("button").all())
      await wholeInView(page, preset);
  });

  test.each([
    ["supervised", "bubblewrap"],
    ["autonomous", "none"],
  ] as const)("the header is one row, whatever it says (%s, %s)", async (mode, isolation) => {
    const { page, server } = await open({
      size,
      prepare: (server) => {
        server.facts = { ...server.facts, mode, isolation: { kind: isolation, says: "" } };
        server.setTarget({ name: "the-machine-of-the-people-in-the-other-building", state: "unreachable" });
      },
    });
    const header = page.locator("header");
    await header.getByText("Connected", { exact: true }).waitFor();
    await oneRow();
    await wholeInView(page, header.getByText(mode));
    if (isolation === "none") await wholeInView(page, header.getByText("not confined"));
    server.streamsDown = true;
    server.dropStreams();
    await header.getByText("Reconnecting", { exact: true }).waitFor();
    await oneRow();
    await shot(page, `header-${isolation}-${size}`);

    async function oneRow() {
      expect((await header.boundingBox())!.height).toBeLessThanOrEqual(headerPxMax);
      await wholeInView(page, header.getByRole("button", { name: "Sessions" }));
      await wholeInView(page, header.locator(".mode"));
      await wholeInView(page, header.locator(".name"));
    }
  });

  test("the prompt of a preset is folded under its name", async () => {
    const preset: Preset = { name: "Triage", about: "", prompt: "Look at the machine.\nChange nothing." };
    const { page } = await open({
      size,
      prepare: (server, session) => {
        server.facts = { ...server.facts, presets: [preset] };
        server.append(session, { kind: "user", text: preset.prompt }, { by: "ana" });
        server.append(session, { kind: "user", text: `${preset.prompt} Or do.` }, { by: "ana" });
      },
    });
    const log = page.getByRole("log");
    await log.getByText("Or do.").waitFor();
    const whole = log.getByText(preset.prompt, { exact: true });
    expect(await whole.isVisible()).toBe(false);
    await log.getByText("Preset: Triage").click();
    await whole.waitFor();
  });
});

test("on a phone notices take one line until they are tapped, and warnings stay whole", async () => {
  const { page, server } = await open({ prepare: (server) => say(server, demo, warning, noModel) });
  const line = page.getByRole("button", { name: "Demo · No model is configured" });
  await line.waitFor();
  expect((await line.boundingBox())!.height).toBeLessThanOrEqual(foldedPxMax);
  await wholeInView(page, page.getByText(warning.text));
  expect(await page.getByText(noModel.text).count()).toBe(0);
  await shot(page, "notices-folded-phone");
  await line.click();
  await page.getByText(noModel.text).waitFor();
  await shot(page, "notices-phone");
  await page.getByRole("button", { name: "Freeze its disk" }).click();
  await expect.poll(() => server.asked("/api/demo/freeze").length).toBe(1);
  await line.click();
  await page.getByText(noModel.text).waitFor({ state: "detached" });
});

test("on a phone a notice that stands alone is cut at the end of its line", async () => {
  const { page } = await open({ prepare: (server) => say(server, noModel) });
  const line = page.getByRole("button", { name: "No model is configured" });
  await line.waitFor();
  expect((await line.boundingBox())!.height).toBeLessThanOrEqual(foldedPxMax);
  await wholeInView(page, line.getByText("More"));
});

test("on a desk every notice is shown whole", async () => {
  const { page } = await open({ size: "desk", prepare: (server) => say(server, demo, warning, noModel) });
  for (const { text } of [demo, warning, noModel]) await page.getByText(text).waitFor();
});

function say(server: FakeServer, ...notices: Notice[]): void {
  server.facts = { ...server.facts, notices };
}

/** Inside the viewport, and not scrolled away under what stands above or below. */
async function wholeInView(page: Page, part: Locator): Promise<void> {
  const { width, height } = page.viewportSize()!;
  const box = (await part.boundingBox())!;
  expect(box.x).toBeGreaterThanOrEqual(0);
  expect(box.x + box.width).toBeLessThanOrEqual(width);
  expect(box.y).toBeGreaterThanOrEqual(0);
  expect(box.y + box.height).toBeLessThanOrEqual(height);
  const hidden = await part.evaluate((element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return [y + 2, y + height - 2].some((at) => {
      const top = document.elementFromPoint(x + width / 2, at);
      return top === null || !(element.contains(top) || top.contains(element));
    });
  });
  expect(hidden).toBe(false);
}
