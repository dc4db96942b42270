import { describe, expect, test } from "vitest";
import type { PromptRequest } from "../../src/protocol/api.ts";
import { rig } from "./rig.ts";
import { beginTriage, endTriage, fill } from "./stories.ts";

const { open } = rig();

test("a one-time link signs in and is gone from the address", async () => {
  const { page, server, url } = await open({
    hash: "#k=good-link",
    prepare: (server) => (server.signedInByDefault = false),
  });
  await page.getByText("Connected", { exact: true }).waitFor();
  expect(page.url()).not.toContain("good-link");
  expect(server.requests[0]).toEqual({ method: "POST", path: "/api/login", body: { link: "good-link" } });
  await page.goto(url);
  await page.getByText("Connected", { exact: true }).waitFor();
});

test("a link that is pasted where the page is open signs in too", async () => {
  const { page, url } = await open({ prepare: (server) => (server.signedInByDefault = false) });
  await page.getByLabel("Token").waitFor();
  await page.goto(`${url}/#k=good-link`);
  await page.getByText("Connected", { exact: true }).waitFor();
});

test("a link that is used up says so, and a token signs in", async () => {
  const { page } = await open({
    hash: "#k=old-link",
    prepare: (server) => (server.signedInByDefault = false),
  });
  await page.getByText("not good any more").waitFor();
  expect(page.url()).not.toContain("old-link");
  await page.getByLabel("Token").fill("good-token");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Connected", { exact: true }).waitFor();
});

test("no preset is offered before it is known what the session holds: one that gives way loses the tap", async () => {
  const replayed = Promise.withResolvers<() => void>();
  const { page, server } = await open({
    prepare: (server) => (server.whenReplayed = (say) => replayed.resolve(say)),
  });
  const say = await replayed.promise;
  await page.getByLabel("Message to the agent").waitFor();
  const triage = page.getByRole("button", { name: "Triage" });
  expect(await triage.count()).toBe(0);
  say();
  await triage.click();
  await expect.poll(() => server.asked("/prompt").length).toBe(1);
});

test("a preset runs a whole turn, with words as they are written and findings at the end", async () => {
  const { page, server, session, errors } = await open();
  server.whenPrompted = () => {
    beginTriage(server, session);
    server.frame("delta", { turn: "t", block: 3, from: 0, text: "The root file" });
    server.frame("delta", { turn: "t", block: 3, from: 13, text: " system is" });
    server.frame("activity", { turn: "t", text: "Waiting for the model, attempt 2 of 3" });
  };
  await page.getByRole("button", { name: "Triage" }).click();
  await page.getByText("The root file system is", { exact: true }).waitFor();
  await page.getByText("attempt 2 of 3").waitFor();
  await page.getByRole("button", { name: "Stop" }).waitFor();
  endTriage(server, session);
  await page.getByRole("cell", { name: "112 GiB" }).waitFor();
  await page.getByText("$0.07").waitFor();
  expect(await page.getByText("The root file system is", { exact: true }).count()).toBe(0);
  await page.getByRole("button", { name: "Send" }).waitFor();
  const [prompt] = server.asked("/prompt") as PromptRequest[];
  expect(prompt?.prompt).toBe("Look at devvm: Triage. Change nothing.");
  expect(errors).toEqual([]);
});

test("a session without a word begins at its heading, even where its presets need more room", async () => {
  const { page } = await open({
    prepare: (server) => {
      const { presets } = server.facts;
      const more = presets.map((preset) => ({ ...preset, name: `${preset.name} again` }));
      server.facts = { ...server.facts, presets: [...presets, ...more] };
    },
  });
  const last = page.getByRole("button", { name: "QEMU wedged? again" });
  await last.waitFor();
  const region = page.getByRole("region", { name: "Transcript" });
  expect(await region.evaluate((box) => [box.scrollTop, box.scrollHeight > box.clientHeight])).toEqual([
    0,
    true,
  ]);
});

test("a tool's answer is folded, and opens", async () => {
  const { page } = await open({ prepare: beginTriage });
  const row = page.locator("summary", { hasText: "ssh devvm 'df -h'" });
  await row.click();
  await page.getByRole("region", { name: "the answer" }).getByText("/dev/vda1").waitFor();
  expect(await page.locator("span.red", { hasText: "100%" }).count()).toBe(1);
});

test("a reload in mid-turn shows the turn as it is, and its end", async () => {
  const { page, server, session } = await open({ prepare: beginTriage });
  await page.getByText("The agent is working", { exact: true }).waitFor();
  await page.reload();
  await page.getByText("The agent is working", { exact: true }).waitFor();
  endTriage(server, session);
  await page.getByRole("cell", { name: "112 GiB" }).waitFor();
  expect(await page.getByText("Preset: Triage").count()).toBe(1);
});

test("a turn that began before the tail is shown as running", async () => {
  const turn = "55555555-5555-4555-8555-555555555555";
  const { page } = await open({
    prepare: (server, session) => {
      server.append(session, { kind: "user", text: "Look at everything" }, { turn });
      for (let n = 0; n < 450; n++) server.append(session, { kind: "text", text: `Step ${n}` }, { turn });
    },
  });
  await page.getByText("Step 449").waitFor();
  await page.getByRole("button", { name: "Stop" }).waitFor();
});

test("Stop asks for the turn to end and shows that it was stopped", async () => {
  const { page, server } = await open({ prepare: beginTriage });
  server.whenCancelled = (session) => {
    server.append(session, { kind: "cancelled" });
    server.append(session, { kind: "turn_end", reason: "cancelled" });
  };
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped on request").waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
});

test("HTML and links in text do nothing but show", async () => {
  const text =
    'A <img src=x onerror="window.hurt = 1"> and <script>window.hurt = 2</script> and [a link](javascript:window.hurt=3) ' +
    "and [another](https://example.org/).\n\n<div onclick='window.hurt = 4'>block</div>\n\n![picture](https://example.org/p.png)";
  const { page, errors } = await open({
    prepare: (server, session) => server.append(session, { kind: "text", text }),
  });
  await page.getByRole("link", { name: "another" }).waitFor();
  await page.getByText("<div onclick='window.hurt = 4'>block</div>").waitFor();
  expect(await page.getByRole("log").locator("img, script, div[onclick]").count()).toBe(0);
  expect(await page.getByRole("link", { name: "a link" }).count()).toBe(0);
  expect(await page.evaluate("window.hurt")).toBeUndefined();
  expect(errors).toEqual([]);
});

test("events of unknown kinds and broken ones are passed over", async () => {
  const { page, errors } = await open({
    prepare: (server, session) => {
      server.append(session, { kind: "text", text: "Before" });
      server.append(session, { kind: "from-the-future" });
      server.append(session, { kind: "text", text: 7 as unknown as string });
      server.append(session, { kind: "text", text: "After" });
    },
  });
  await page.getByText("After").waitFor();
  await page.getByText("Before").waitFor();
  expect(errors).toEqual([]);
});

test("another session is opened from the list, and a new one", async () => {
  const { page, server, session } = await open({
    prepare: (server) => {
      const other = server.newSession("The newer one");
      server.append(other, { kind: "text", text: "Words of the newer one" });
    },
  });
  await page.getByText("Words of the newer one").waitFor();
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "Devvm does not answer" }).click();
  await page.getByRole("heading", { name: "What is wrong with devvm?" }).waitFor();
  server.append(session, { kind: "text", text: "Words of the older one" });
  await page.getByText("Words of the older one").waitFor();
  await page.reload();
  await page.getByText("Words of the older one").waitFor();
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "New session", exact: true }).click();
  await page.getByRole("heading", { name: "What is wrong with devvm?" }).waitFor();
  expect(server.sessions).toHaveLength(3);
});

describe("long sessions", () => {
  test("begin with the newest, and earlier events are loaded without moving what is read", async () => {
    const { page } = await open({ prepare: (server, session) => fill(server, session, 2000) });
    await page.getByText("Question 399", { exact: true }).waitFor();
    expect(await page.getByText("Question 300", { exact: true }).count()).toBe(0);
    for (let n = 0; n < 3; n++) {
      const seen = await page
        .getByText(/^Question \d+$/)
        .first()
        .textContent();
      await page.getByRole("button", { name: "Load earlier" }).click();
      await page.waitForFunction((before) => document.querySelector(".prompt")?.textContent !== before, seen);
      await page.getByText(seen!, { exact: true }).waitFor();
    }
    expect(await page.getByText("Question 300", { exact: true }).count()).toBe(1);
    await page.getByRole("button", { name: "Newest" }).click();
    await page.waitForFunction(() => document.querySelector(".newest") === null);
  });

  test("of 10,000 events open and still answer a tap while they come", async () => {
    const { page, server, session } = await open({
      prepare: (server, session) => {
        fill(server, session, 10_000);
        // A log of which this page saw more than there is: the server sends the whole of it.
        server.resetOnce = true;
      },
    });
    await page.getByText("Question 1999", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Power" }).click();
    await page.getByRole("dialog", { name: "Power of devvm" }).waitFor();
    await page.keyboard.press("Escape");
    expect(await page.locator(".entry").count()).toBeLessThan(400);
    server.append(session, { kind: "text", text: "And one more" });
    await page.getByText("And one more").waitFor();
  });

  test("are followed at the end only while the reader is there", async () => {
    const { page, server, session } = await open({
      prepare: (server, session) => fill(server, session, 300),
    });
    await page.getByText("Question 59", { exact: true }).waitFor();
    const left = () =>
      page
        .getByRole("region", { name: "Transcript" })
        .evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight);
    await expect.poll(left).toBeLessThan(60);
    fill(server, session, 320);
    await page.getByText("Question 63", { exact: true }).waitFor();
    await expect.poll(left).toBeLessThan(60);
    await page.getByRole("region", { name: "Transcript" }).evaluate((box) => box.scrollBy(0, -600));
    await page.getByRole("button", { name: "Newest" }).waitFor();
    const at = await left();
    fill(server, session, 340);
    await page.getByText("Question 67", { exact: true }).waitFor({ state: "attached" });
    expect(await left()).toBeGreaterThan(at);
    await page.getByRole("button", { name: "Newest" }).click();
    await expect.poll(left).toBeLessThan(60);
  });
});
