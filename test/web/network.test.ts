import { describe, expect, test } from "vitest";
import type { PromptRequest } from "../../src/protocol/api.ts";
import { shot } from "./browser.ts";
import { rig } from "./rig.ts";
import { beginTriage, endTriage, fill } from "./stories.ts";

const { open } = rig();

test("a dropped connection is said, comes back, and nothing is shown twice or missed", async () => {
  const { page, server, session } = await open({ prepare: beginTriage });
  await page.getByText("Connected", { exact: true }).waitFor();
  server.streamsDown = true;
  server.dropStreams();
  await page.getByText("Reconnecting", { exact: true }).waitFor();
  await page.getByText("was up").first().waitFor();
  expect(await page.getByText("Connected", { exact: true }).count()).toBe(0);
  endTriage(server, session);
  server.streamsDown = false;
  await page.getByText("Connected", { exact: true }).waitFor();
  await page.getByRole("cell", { name: "112 GiB" }).waitFor();
  await page.getByText("$0.07").waitFor();
  expect(await page.getByText("Preset: Triage").count()).toBe(1);
  expect(await page.locator(".entry.exec").count()).toBe(3);
});

test("a line that goes silent without breaking is taken for lost", async () => {
  const { page, server } = await open({ prepare: (server) => (server.beatSeconds = 0.2) });
  await page.getByText("Reconnecting", { exact: true }).waitFor();
  server.beatSeconds = 15;
  await page.getByText("Connected", { exact: true }).waitFor();
});

test("a log that became shorter is read anew", async () => {
  const { page, server, session } = await open({ prepare: (server, session) => fill(server, session, 20) });
  await page.getByText("Question 3").waitFor();
  server.streamsDown = true;
  server.dropStreams();
  server.logs.set(session, []);
  server.append(session, { kind: "text", text: "After the restore" });
  server.streamsDown = false;
  await page.getByText("After the restore").waitFor();
  expect(await page.getByText("Question 3").count()).toBe(0);
});

test("a stream that the server ends with a reason says the reason", async () => {
  const { page, server } = await open();
  await page.getByText("Connected", { exact: true }).waitFor();
  server.frame("error", { detail: "The record could not be read further: a damaged frame." });
  await page.getByText("a damaged frame").waitFor();
});

describe("a draft", () => {
  test("survives a reload", async () => {
    const { page } = await open();
    await page.getByLabel("Message to the agent").fill("It hangs since\nthis morning");
    await page.reload();
    await expect
      .poll(() => page.getByLabel("Message to the agent").inputValue())
      .toBe("It hangs since\nthis morning");
  });

  test("whose answer is lost goes again with the same key, and starts one turn", async () => {
    const { page, server } = await open();
    let started = 0;
    server.whenPrompted = () => (started += 1);
    server.twists.push(
      { path: "/prompt", twist: { kind: "lose" } },
      { path: "/prompt", twist: { kind: "lose-before" } },
    );
    await page.getByLabel("Message to the agent").fill("It hangs");
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => page.getByLabel("Message to the agent").inputValue()).toBe("");
    // Chromium itself sends a POST again when a kept connection breaks: the key must hold for that too.
    const prompts = server.asked("/prompt") as PromptRequest[];
    expect(prompts).toHaveLength(3);
    expect(new Set(prompts.map(({ key }) => key)).size).toBe(1);
    expect(started).toBe(1);
  });

  test("keeps its key over a reload, so that it cannot be sent twice", async () => {
    const { page, server, session } = await open();
    server.streamsDown = true;
    server.dropStreams();
    for (let n = 0; n < 20; n++) server.twists.push({ path: "/prompt", twist: { kind: "lose" } });
    await page.getByLabel("Message to the agent").fill("It hangs");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("No answer yet").waitFor();
    await page.reload();
    server.twists.length = 0;
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => page.getByLabel("Message to the agent").inputValue()).toBe("");
    const prompts = server.asked("/prompt") as PromptRequest[];
    expect(new Set(prompts.map(({ key }) => key)).size).toBe(1);
    expect(server.logs.get(session)).toHaveLength(0);
  });

  test("is cleared when its event is seen, even if every answer was lost", async () => {
    const { page, server, session } = await open();
    server.twists.push({ path: "/prompt", twist: { kind: "lose" } });
    server.whenPrompted = (_, { prompt, key }) =>
      server.append(session, { kind: "user", text: prompt, key: key! });
    await page.getByLabel("Message to the agent").fill("It hangs");
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => page.getByLabel("Message to the agent").inputValue()).toBe("");
  });

  test.each([
    [409, "A turn is running in this session. Wait for it, or stop it."],
    [422, "The prompt is larger than 512 KiB. Shorten it."],
    [429, "Three turns run already. Wait for one to end."],
    [507, "The disk is nearly full: no new turns. Verbs still work."],
  ])("that is refused with %i stays, and the reason is said", async (status, detail) => {
    const { page, server } = await open();
    server.twists.push({ path: "/prompt", twist: { kind: "answer", status, body: { detail } } });
    await page.getByLabel("Message to the agent").fill("It hangs");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText(detail).waitFor();
    expect(await page.getByLabel("Message to the agent").inputValue()).toBe("It hangs");
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => page.getByLabel("Message to the agent").inputValue()).toBe("");
  });
});

test("Enter sends at a desk, and makes a line with Shift", async () => {
  const { page, server } = await open({ size: "desk" });
  await page.getByLabel("Message to the agent").click();
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await expect
    .poll(() => (server.asked("/prompt") as PromptRequest[]).map(({ prompt }) => prompt))
    .toEqual(["one\ntwo"]);
});

describe.each(["phone", "desk"] as const)("on a %s", (size) => {
  test("the composer is inside the viewport, whatever is above it", async () => {
    const { page } = await open({
      size,
      prepare: (server, session) => {
        fill(server, session, 400);
        const notice = { id: "n", level: "warning", text: "The demo machine is used. ".repeat(12) } as const;
        server.facts = { ...server.facts, notices: [notice, { ...notice, id: "m" }, { ...notice, id: "o" }] };
      },
    });
    const field = page.getByLabel("Message to the agent");
    const send = page.getByRole("button", { name: "Send" });
    const inside = async () => {
      const { width, height } = page.viewportSize()!;
      for (const name of [field, send]) {
        const box = (await name.boundingBox())!;
        expect(box.y).toBeGreaterThanOrEqual(0);
        expect(box.x).toBeGreaterThanOrEqual(0);
        expect(box.y + Math.min(box.height, 0.3 * height)).toBeLessThanOrEqual(height);
        expect(box.x + box.width).toBeLessThanOrEqual(width);
        expect(box.height).toBeGreaterThanOrEqual(44);
      }
    };
    await field.waitFor();
    await inside();
    await field.fill("a line\n".repeat(60));
    await inside();
    expect(await field.evaluate((area) => getComputedStyle(area).fontSize)).toBe("16px");
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(
      page.viewportSize()!.width,
    );
    // As an on-screen keyboard does it.
    await page.setViewportSize({ width: page.viewportSize()!.width, height: 420 });
    await expect.poll(async () => (await send.boundingBox())!.y).toBeLessThan(420);
    await inside();
  });

  test("the last transcript can be read while the server cannot be reached", async () => {
    const { page, server } = await open({
      size,
      options: { serviceWorkers: "allow" },
      prepare: (server, session) => {
        beginTriage(server, session);
        endTriage(server, session);
      },
    });
    await page.getByRole("cell", { name: "112 GiB" }).waitFor();
    await page.evaluate(async () => void (await navigator.serviceWorker.ready));
    await page.waitForFunction(() => localStorage.getItem("reading") !== null);
    const port = Number(new URL(page.url()).port);
    await server.close();
    await page.reload();
    await page.getByRole("cell", { name: "112 GiB" }).waitFor();
    await page.getByText(/^Offline, as of/).waitFor();
    await page.getByText("was up").first().waitFor();
    expect(await page.getByText("Connected", { exact: true }).count()).toBe(0);
    await shot(page, `offline-${size}`);
    await server.listen(port);
    await page.getByText("Connected", { exact: true }).waitFor();
    await page.getByText(/^Offline, as of/).waitFor({ state: "detached" });
  });
});
