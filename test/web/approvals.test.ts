import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { ApprovalRequest, PendingApproval } from "../../src/protocol/api.ts";
import type { KeptReading } from "../../src/web/lib/keep.ts";
import type { FakeServer } from "./fake-server.ts";
import { rig, type Opened } from "./rig.ts";
import { aRequest, binaryRequest, trickyRequest, verbRequest } from "./stories.ts";

const { open } = rig();
const approve = (page: Page) => page.locator("button.approve");
const deny = (page: Page) => page.getByRole("button", { name: "Deny" });
const dialogOf = (page: Page) => page.getByRole("dialog", { name: /The agent asks/ });
const answersTo = (server: FakeServer, { approval }: PendingApproval) =>
  server.asked(`/approvals/${approval}`) as ApprovalRequest[];

test("a request of any session comes over the page, whole, and the answer carries the hash of what was shown", async () => {
  const { page, server, errors } = await openConnected();
  const other = server.newSession("Disk of devvm");
  const asked = aRequest(other, 1, { session_name: "Disk of devvm" });
  server.askApproval(asked);
  const dialog = dialogOf(page);
  for (const words of ["root@devvm", asked.why, asked.command, "1 line, 57 B", "Disk of devvm", asked.sha256])
    await dialog.getByText(words).first().waitFor();
  await dialog.getByText("Expires in 10 min.").waitFor();
  await expect.poll(() => page.title()).toBe("(1) Approval needed · Breakglass");
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
  await approve(page).click();
  await dialog.getByText("Approved.", { exact: true }).waitFor();
  await dialog.waitFor({ state: "detached" });
  expect(answersTo(server, asked)).toEqual([{ decision: "approve", sha256: asked.sha256 }]);
  expect(server.requests.filter(({ path }) => path.includes(`/session/${other}/approvals/`))).toHaveLength(1);
  await expect.poll(() => page.title()).toBe("Breakglass");
  expect(errors).toEqual([]);
});

test("a denial is sent as one, and said", async () => {
  const { page, server, asked } = await openAsked();
  await deny(page).click();
  await page.getByText("Nothing was run. The agent is told so.").first().waitFor();
  expect(answersTo(server, asked)).toEqual([{ decision: "deny", sha256: asked.sha256 }]);
});

test("approve and deny are far apart, and approve stands neither at the edge nor where the page has buttons", async () => {
  const { page } = await openConnected();
  const send = (await page.getByRole("button", { name: "Send" }).boundingBox())!;
  const chip = (await page.getByRole("button", { name: "Power" }).boundingBox())!;
  const { page: phone } = await openAsked();
  const [yes, no] = [(await approve(phone).boundingBox())!, (await deny(phone).boundingBox())!];
  expect(no.y - (yes.y + yes.height)).toBeGreaterThanOrEqual(32);
  for (const below of [send, chip]) expect(yes.y + yes.height).toBeLessThan(below.y);
  for (const box of [yes, no]) expect(box.height).toBeGreaterThanOrEqual(44);
});

test("a tap meant for what was there before answers nothing", async () => {
  const { page, server, session } = await openConnected();
  const [first, second] = [aRequest(session, 1), aRequest(session, 2)];
  // Time stands still, so that how fast this machine is does not matter.
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 60_000);
  server.askApproval(first);
  server.askApproval(second);
  await approve(page).waitFor();
  await tapAnyway(page);
  expect(answersTo(server, first)).toEqual([]);
  await page.clock.runFor(1000);
  await approve(page).dblclick();
  await page.getByText("Approved.", { exact: true }).waitFor();
  await page.clock.runFor(2000);
  await dialogOf(page).getByText("2".concat("f2a7c1e").repeat(8)).waitFor();
  await tapAnyway(page);
  expect(await approve(page).isDisabled()).toBe(true);
  expect(answersTo(server, first)).toHaveLength(1);
  expect(answersTo(server, second)).toEqual([]);
  await page.clock.runFor(1000);
  await approve(page).click();
  await expect.poll(() => answersTo(server, second)).toHaveLength(1);
});

test("several wait in a queue, the oldest first, and can be browsed", async () => {
  const { page, server, session } = await openConnected();
  const requests = [aRequest(session, 1), verbRequest(session, 2), binaryRequest(session, 3)];
  for (const asked of requests) server.askApproval(asked);
  const dialog = dialogOf(page);
  await dialog.getByText("1 of 3, the oldest").waitFor();
  await dialog.getByRole("button", { name: "The next request" }).click();
  await dialog.getByText("Pulls the plug, then starts a fresh QEMU process.").waitFor();
  await dialog.getByRole("button", { name: "Approve cycle" }).waitFor();
  await dialog.getByRole("button", { name: "The next request" }).click();
  await dialog.getByText("binary, 256 B").waitFor();
  await dialog.getByText("0000  7f 45 4c 46").waitFor();
  await dialog.getByRole("button", { name: "base64" }).click();
  await dialog.getByText("f0VMRgIBAQDp").waitFor();
  await dialog.getByRole("button", { name: "The request before" }).click();
  await dialog.getByText("2 of 3").waitFor();
  await deny(page).click();
  await dialog.getByText("1 of 2, the oldest").waitFor();
  expect(answersTo(server, requests[1]!)).toHaveLength(1);
  expect(answersTo(server, requests[0]!)).toEqual([]);
});

test("what hides or turns text is named, and nothing of a request becomes markup", async () => {
  const { page, server, session } = await openConnected();
  const asked = trickyRequest(session, 1);
  server.askApproval({ ...asked, command: "echo '<b id=planted>x</b>' \u001b[31m\u200b\u200b" });
  const dialog = dialogOf(page);
  for (const name of ["U+202E", "U+200B ×2", "U+001B"]) await dialog.getByText(name).first().waitFor();
  await dialog.getByText("<b id=planted>").waitFor();
  await dialog.getByText("1 character beyond plain ASCII").waitFor();
  expect(await page.locator("#planted").count()).toBe(0);
});

const manyLines = `${"echo harmless\n".repeat(60)}rm -rf /srv/data`;
const stdinOf = (text: string) => ({ bytes: text.length, sha256: "ab".repeat(32) });
test.each([
  ["a command", { command: manyLines }, "rm -rf /srv/data"],
  ["a command of one line", { command: `${"true && ".repeat(900)}rm -rf /srv/data` }, "rm -rf /srv/data"],
  ["an input", { stdin: { ...stdinOf(manyLines), text: manyLines } }, "rm -rf /srv/data"],
  ["a binary input", { stdin: { ...stdinOf(manyLines), base64: btoa(manyLines) } }, "0340  "],
])("approve stays shut until the last line of %s was in view", async (_, wish, lastWords) => {
  const { page, server, session } = await openConnected();
  server.askApproval(aRequest(session, 1, wish));
  const dialog = dialogOf(page);
  await dialog.getByRole("button", { name: "There is more below" }).waitFor();
  const scrollTo = (lastLineAbove: number) => dialog.evaluate(scrolled, [lastWords, lastLineAbove] as const);
  const unread = dialog.getByText("Read to its end before you approve.");
  for (const above of [-400, -2]) {
    await scrollTo(above);
    expect(await unread.isVisible()).toBe(true);
    expect(await approve(page).isDisabled()).toBe(true);
  }
  await deny(page).and(page.locator(":enabled")).waitFor();
  await scrollTo(150);
  await unread.waitFor({ state: "detached" });
  await page.locator("button.approve:enabled").waitFor();
});

test.each(["\u202e\u200b", "a\u200b", "\n", "\u043ea", "x"])(
  "64 KiB of %j as command and as input are drawn with few elements",
  async (unit) => {
    const { page, server, session, errors } = await openConnected();
    const text = unit.repeat(Math.floor(65_536 / Buffer.byteLength(unit)));
    const stdin = { ...stdinOf(text), text };
    server.askApproval(aRequest(session, 1, { command: text, stdin }));
    const dialog = dialogOf(page);
    await dialog.getByRole("region", { name: "Input (stdin)", exact: true }).waitFor();
    expect(await dialog.locator("*").count()).toBeLessThan(10_000);
    await dialog.getByRole("region", { name: "The request" }).evaluate((body) => body.scrollTo(0, 9e9));
    await page.locator("button.approve:enabled").waitFor();
    expect(errors).toEqual([]);
  },
);

test("why it is asked is shown with what could deceive named, and never longer than a few lines", async () => {
  const { page, server, session } = await openConnected();
  server.askApproval(aRequest(session, 1, { why: `It runs \u202etxt.exe. ${"y".repeat(5000)}` }));
  const told = /^It runs ⟨U\+202E⟩txt\.exe\. y{100,480}…\s*$/;
  await dialogOf(page).getByText(told).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText(told).waitFor();
});

test("to whom may only look a request is shown without what looks like a secret, and without an answer", async () => {
  const { page, server, session } = await openConnected();
  const redacted = { redacted: true as const };
  server.askApproval({ ...aRequest(session, 1, { command: "PASSWORD=[redacted] backup" }), ...redacted });
  await dialogOf(page).getByText("You may look, not decide: what looks like a secret is left out.").waitFor();
  expect(await approve(page).or(deny(page)).count()).toBe(0);
  expect(await page.getByText("What you answer is exactly this").count()).toBe(0);
});

test("answered by somebody else meanwhile, it says what became of it", async () => {
  const { page, server, asked } = await openAsked();
  await page.locator("button.approve:enabled").waitFor();
  server.decideApproval(asked, { decision: "denied" }, "ben");
  await dialogOf(page).getByText("Denied by ben.").waitFor();
  expect(await approve(page).count()).toBe(0);
  await page.getByRole("button", { name: "Back to the session" }).click();
  await dialogOf(page).waitFor({ state: "detached" });
  expect(answersTo(server, asked)).toEqual([]);
});

test("of a session that is not open, what became of a request is asked for", async () => {
  const { page, server } = await openConnected();
  const asked = aRequest(server.newSession("Another"), 1);
  server.askApproval(asked);
  await dialogOf(page).waitFor();
  server.decideApproval(asked, { decision: "expired" }, "breakglass");
  await dialogOf(page).getByText("Nobody answered in time. Nothing was run.").waitFor();
});

test("a 409 is said in the server's words, and it is not answered again", async () => {
  const { page, server, asked } = await openAsked();
  const detail = "It was answered before: approved by ben at 10:02.";
  server.twists.push({ path: asked.approval, twist: { kind: "answer", status: 409, body: { detail } } });
  await deny(page).click();
  await page.getByText(detail).waitFor();
  expect(await approve(page).count()).toBe(0);
});

test("an answer that did not arrive is not sent again by itself, and nothing is said to be approved", async () => {
  const { page, server, asked } = await openAsked();
  let tried = 0;
  await page.route("**/approvals/*", (route) => {
    tried += 1;
    return route.abort();
  });
  await approve(page).click();
  await page.getByText("Not sent yet: your answer has not reached the server").waitFor();
  expect(tried).toBe(1);
  expect(answersTo(server, asked)).toEqual([]);
  expect(await page.getByText("Approved").count()).toBe(0);
  await page.unroute("**/approvals/*");
  await approve(page).click();
  await page.getByText("Approved.", { exact: true }).waitFor();
});

test("an answer that arrived although its own answer was lost is told as the record has it", async () => {
  const { page, server, asked } = await openAsked();
  server.twists.push({ path: asked.approval, twist: { kind: "lose" } });
  await approve(page).click();
  await dialogOf(page)
    .getByText(/Approved by ana|approved by ben/)
    .waitFor();
  expect(server.logs.get(asked.session_id)!.filter(isDecision)).toHaveLength(1);
});

test("without a line nothing can be answered, and that is said", async () => {
  const { page, server } = await openAsked();
  server.streamsDown = true;
  server.dropStreams();
  await page.getByText("Not connected: your answer cannot be sent yet.").waitFor();
  expect(await approve(page).isDisabled()).toBe(true);
  expect(await deny(page).isDisabled()).toBe(true);
  server.streamsDown = false;
  await page.locator("button.approve:enabled").waitFor();
});

test("put aside it waits behind a bar, and what is new comes all the same", async () => {
  const { page, server, session } = await openAsked();
  server.append(session, { kind: "user", text: "Repair it" }, { by: "ana" });
  await page.getByRole("button", { name: "Put aside" }).click();
  await dialogOf(page).waitFor({ state: "detached" });
  await page.getByText("Waits for your approval", { exact: true }).waitFor({ state: "attached" });
  const bar = page.getByRole("button", { name: "1 request waits for approval" });
  await bar.click();
  await dialogOf(page).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Read and answer" }).click();
  await dialogOf(page).waitFor();
  await page.keyboard.press("Escape");
  server.askApproval(verbRequest(session, 2));
  await dialogOf(page).getByText("2 of 2").waitFor();
});

test("it never stands between an operator and the power", async () => {
  const { page, server, session } = await openAsked();
  await dialogOf(page).getByRole("button", { name: "Power" }).click();
  const cycle = page.getByRole("button", { name: /^Cycle/ });
  await cycle.waitFor();
  server.askApproval(aRequest(session, 2));
  await page.getByRole("dialog").getByText("2 requests wait for approval").waitFor();
  await cycle.click();
  await page.getByRole("button", { name: "Cycle devvm now" }).click();
  await expect.poll(() => server.asked("/api/targets/devvm/operations").length).toBe(1);
  expect(await dialogOf(page).count()).toBe(0);
  await page.getByRole("button", { name: "Close" }).click();
  await dialogOf(page).getByText("2 of 2").waitFor();
});

test("what the agent was saying is one tap away", async () => {
  const { page, server } = await openConnected();
  const other = server.newSession("Another");
  server.append(other, { kind: "text", text: "I will start the database." });
  server.askApproval(aRequest(other, 1, { session_name: "Another" }));
  await page.getByRole("button", { name: "Read what the agent says there" }).click();
  await page.getByText("I will start the database.").waitFor();
  await page.getByRole("button", { name: "1 request waits for approval" }).waitFor();
});

test("it can be read and answered by keyboard alone", async () => {
  const { page, server, asked } = await openAsked();
  await page.locator("button.approve:enabled").waitFor();
  const reached: string[] = [];
  while (!reached.includes("Approve once") && reached.length < 20) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate(() => document.activeElement?.textContent?.trim() ?? ""));
  }
  expect(reached.at(-1)).toBe("Approve once");
  await page.keyboard.press("Enter");
  await expect.poll(() => answersTo(server, asked)).toHaveLength(1);
});

test("what waits is kept nowhere on the device", async () => {
  const { page } = await open({ prepare: (server, session) => server.askApproval(aRequest(session, 1)) });
  await page.waitForFunction(() => localStorage.getItem("reading")?.includes(`"kind":"approval"`));
  const kept = await page.evaluate(() => JSON.parse(localStorage.getItem("reading")!) as KeptReading);
  expect(kept.transcript.entries.map(({ kind }) => kind)).toContain("approval");
  expect(kept.facts.now.approvals).toEqual([]);
});

test("before its part of the page has come, that something waits is said", async () => {
  const { page, server, session, url } = await open();
  await page.route("**/later-*", (route) => route.abort());
  server.askApproval(aRequest(session, 1));
  await page.goto(`${url}/?again`);
  await page.getByRole("button", { name: "1 request waits for approval" }).click();
  await page.getByRole("dialog").getByText("This part of the page did not come").waitFor();
  await page.unroute("**/later-*");
  await page.getByRole("dialog").getByRole("button", { name: "Try again" }).click();
  await dialogOf(page).waitFor();
});

async function openConnected(): Promise<Opened> {
  const opened = await open();
  await opened.page.getByText("Connected", { exact: true }).waitFor();
  await opened.page.getByText("supervised").waitFor();
  return opened;
}

async function openAsked(): Promise<Opened & { asked: PendingApproval }> {
  const opened = await openConnected();
  const asked = aRequest(opened.session, 1);
  opened.server.askApproval(asked);
  await dialogOf(opened.page).waitFor();
  return { ...opened, asked };
}

/** Scrolls the request until the end of these words stands so many pixels above its lower edge; then two pictures long. */
async function scrolled(dialog: Element, [words, above]: readonly [string, number]): Promise<void> {
  const body = dialog.querySelector(".body")!;
  const texts = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const at = texts.currentNode.textContent!.lastIndexOf(words);
    if (at < 0) continue;
    range.setStart(texts.currentNode, at);
    range.setEnd(texts.currentNode, at + words.length);
  }
  const end = range.getBoundingClientRect().bottom;
  body.scrollBy(0, end - body.getBoundingClientRect().bottom + above);
  for (let picture = 0; picture < 2; picture++) await new Promise(requestAnimationFrame);
}

/** As a finger does it that was on its way already: at the place, whatever is there now. */
async function tapAnyway(page: Page): Promise<void> {
  const { x, y, width, height } = (await approve(page).boundingBox())!;
  await page.touchscreen.tap(x + width / 2, y + height / 2);
}

function isDecision(event: unknown): boolean {
  return (event as { kind: string }).kind === "decision";
}
