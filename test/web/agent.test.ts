import { expect, test } from "vitest";
import type { PromptRequest, RunbookRequest } from "../../src/protocol/api.ts";
import type { FakeServer } from "./fake-server.ts";
import { rig, type Opened } from "./rig.ts";
import { decidedThings, triageByRunbook } from "./stories.ts";

const { open } = rig();
const detail = "It answered 529 (overloaded). Runbooks and Power work without it.";
const gone = (): Parameters<FakeServer["setNow"]>[0] => ({
  model: { state: "gone", since: new Date().toISOString(), detail },
});

test("the mode is shown, told in words, changed by one tap, and its grant has an end", async () => {
  const { page, server, session, errors } = await openConnected();
  await page.getByRole("button", { name: /supervised/ }).click();
  const sheet = page.getByRole("dialog", { name: "The agent" });
  for (const words of [
    "It only looks",
    "waits for your yes",
    "at most two an hour",
    "Confined: it sees nothing",
  ])
    await sheet.getByText(words).first().waitFor();
  const autonomous = sheet.getByRole("button", { name: "autonomous for 30 minutes" });
  await autonomous.click();
  await sheet.getByText("30 min left").waitFor();
  expect(await autonomous.getAttribute("aria-pressed")).toBe("true");
  expect(server.asked(`/api/session/${session}`)).toEqual([{ mode: "autonomous" }]);
  await page.keyboard.press("Escape");
  await page.getByText("autonomous 30 min").waitFor();
  await page.getByText(/^Mode: autonomous until/).waitFor();
  server.setMode(session, { mode: "observe" });
  await page.getByRole("button", { name: /observe/ }).waitFor();
  expect(errors).toEqual([]);
});

test("a grant ends by the clock, whether or not the server is heard", async () => {
  const { page, server, session } = await openConnected();
  await page.clock.install();
  const until = new Date(Date.now() + 100_000).toISOString();
  server.setMode(session, { mode: "autonomous", until, back_to: "observe" });
  await page.getByText("autonomous 2 min").waitFor();
  server.aheadMs = 130_000;
  await page.clock.fastForward(server.aheadMs);
  await page.getByRole("button", { name: /observe/ }).waitFor();
});

test("a mode that could not be changed says why, where it was tapped", async () => {
  const { page, server, session } = await openConnected();
  const detail = "Only an operator may change the mode. You may look.";
  server.twists.push({ path: session, twist: { kind: "answer", status: 403, body: { detail } } });
  await page.getByRole("button", { name: /supervised/ }).click();
  await page.getByRole("button", { name: /^observe/ }).click();
  await page.getByRole("dialog").getByText(detail).waitFor();
  await page
    .getByRole("dialog")
    .getByRole("button", { name: /^supervised/, pressed: true })
    .waitFor();
});

test("a freeze is one tap and one question; it says who, blocks what it must, and is lifted", async () => {
  const { page, server } = await openConnected();
  await page.getByLabel("Message to the agent").fill("It hangs");
  await page.getByRole("button", { name: /supervised/ }).click();
  await page.getByRole("button", { name: "Freeze" }).click();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Leave it as it is");
  await page.getByRole("button", { name: "Freeze now" }).click();
  await page.getByRole("button", { name: "Lift the freeze" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText(/Frozen by ana .* ago/).waitFor();
  await page.getByText("nothing is sent to the agent until that is lifted").waitFor();
  expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true);
  expect(await page.getByRole("button", { name: /^Triage/ }).isDisabled()).toBe(true);
  await page.getByRole("button", { name: "Power" }).click();
  expect(await page.getByRole("button", { name: /^Cycle/ }).isEnabled()).toBe(true);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Lift", exact: true }).click();
  await page.locator("button.round:enabled").waitFor();
  expect(await page.getByLabel("Message to the agent").inputValue()).toBe("It hangs");
  expect(server.asked("/api/freeze")).toEqual([{ frozen: true }, { frozen: false }]);
});

test("that nothing is confined stays shown, and its sentence is a tap away", async () => {
  const says = "Not confined: the agent runs as the server does and could read its key.";
  const { page } = await open({
    prepare: (server) => (server.facts = { ...server.facts, isolation: { kind: "none", says } }),
  });
  await page.getByRole("button", { name: /not confined/ }).click();
  await page.getByText(says).waitFor();
});

test("what ran is shown whole: no character of a command can hide another", async () => {
  const hidden = "true '\u001b]'; rm -rf /srv/data; echo '\u0007' done";
  const { page, server, session } = await openConnected();
  const did = { kind: "exec", n: 0, target: "devvm", account: "root" } as const;
  server.append(session, { ...did, command: hidden, phase: "started" });
  server.append(session, { ...did, n: 1, command: "X #\recho ok", phase: "started" });
  server.append(session, {
    kind: "tool",
    name: "Bash",
    tool_id: "t",
    input: { command: `ssh devvm ${hidden}` },
  });
  const steps = page.locator("summary");
  await steps.getByText("true '⟨U+001B⟩]'; rm -rf /srv/data; echo '⟨U+0007⟩' done").nth(1).waitFor();
  await steps.getByText("X #⟨U+000D⟩echo ok").waitFor();
  for (const what of ["root@devvm true", "root@devvm X", "Bash ssh devvm"])
    await page.getByText(what).first().click();
  const opened = (label: string) => page.getByRole("region", { name: label, exact: true });
  await opened("command").getByText("rm -rf /srv/data").waitFor();
  await opened("command").getByText("X #⟨U+000D⟩echo ok").waitFor();
  await opened("what was asked").getByText("⟨U+001B⟩]'; rm -rf /srv/data").waitFor();
});

test.each([
  ["runner", "A program of its own"],
  ["account", "Another account"],
  ["bubblewrap", "Confined: bubblewrap"],
] as const)("a confinement of kind %s is headed by what it is", async (kind, heading) => {
  const says = "What holds is said here.";
  const { page } = await openConnected(
    (server) => (server.facts = { ...server.facts, isolation: { kind, says } }),
  );
  await page.getByRole("button", { name: /supervised/ }).click();
  const sheet = page.getByRole("region", { name: "Confinement" });
  await sheet.getByText(says).waitFor();
  expect(await sheet.getByRole("heading").textContent()).toBe(heading);
});

test("of a command that was ended from here no more is said than what was seen", async () => {
  const reason = "Stopped: nothing that can be recognised as its own is left there.";
  const { page, server, session } = await openConnected();
  const did = { kind: "exec", n: 0, target: "devvm", account: "root", command: "sleep 9" } as const;
  server.append(session, { ...did, phase: "started" });
  const end = { kind: "ended", reason } as const;
  server.append(session, { ...did, phase: "settled", end, duration_ms: 9000, bytes: 0, excerpt: "" });
  await page.getByText("root@devvm sleep 9").click();
  const said = page.getByText(reason);
  await said.waitFor();
  expect((await said.textContent())!.trim().replaceAll(/\s+/g, " ")).toBe(`${reason} 0 B of output.`);
});

test("when the model is gone a preset runs its Runbook, says so, and starts it once", async () => {
  const { page, server, session } = await openConnected(withRunbooks);
  server.setNow(gone());
  await page.getByText(detail).waitFor();
  server.whenRunbookAsked = (_, { key }) => {
    server.append(session, {
      kind: "runbook",
      phase: "started",
      name: "triage",
      title: "Triage",
      target: "devvm",
      key: key!,
    });
    triageByRunbook(server, session);
  };
  server.twists.push({ path: "/runbook", twist: { kind: "lose" } });
  await page.getByRole("button", { name: "Triage without the model" }).click();
  await page.getByText("The root file system is full, and a unit").waitFor();
  const asked = server.asked("/runbook") as RunbookRequest[];
  expect(asked[0]).toMatchObject({ name: "triage" });
  expect(new Set(asked.map(({ key }) => key)).size).toBe(1);
  expect(server.asked("/prompt")).toEqual([]);
  expect(await page.getByRole("button", { name: "Disk needs the model" }).isDisabled()).toBe(true);
});

test("a typed prompt is warned about before it goes to a model that is gone, and the draft is kept", async () => {
  const { page, server } = await openConnected();
  server.setNow(gone());
  await page.getByText(detail).waitFor();
  const field = page.getByLabel("Message to the agent");
  await field.fill("It hangs");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("this prompt would most likely fail").waitFor();
  expect(server.asked("/prompt")).toEqual([]);
  expect(await field.inputValue()).toBe("It hangs");
  await page.getByRole("button", { name: "Do not send" }).click();
  expect(await field.inputValue()).toBe("It hangs");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("button", { name: "Send it anyway" }).click();
  await expect
    .poll(() => (server.asked("/prompt") as PromptRequest[]).map(({ prompt }) => prompt))
    .toEqual(["It hangs"]);
});

test("a Runbook can be run by hand at any time", async () => {
  const { page, server } = await openConnected(withRunbooks);
  await page.getByRole("button", { name: /supervised/ }).click();
  await page.getByRole("button", { name: "Triage Load, memory" }).click();
  await expect
    .poll(() => (server.asked("/runbook") as RunbookRequest[]).map(({ name }) => name))
    .toEqual(["triage"]);
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("findings stand with their evidence, their level, what gave no answer and the next step; nothing becomes markup", async () => {
  const { page } = await open({ prepare: triageByRunbook });
  const runbook = page.getByRole("region", { name: "Runbook Triage" });
  for (const words of [
    "/ is full.",
    "1 unit has failed.",
    "No answer within 10 s.",
    "Free space on /",
    "without the model",
  ])
    await runbook.getByText(words).waitFor();
  await runbook.getByText("failed <b>PostgreSQL</b> ·RDBMS").waitFor();
  expect(await runbook.getByText("Bad:").count()).toBe(1);
  expect(await runbook.getByText("Warning:").count()).toBe(1);
  await runbook.getByRole("region", { name: "evidence of Disks" }).locator("span.red").waitFor();
});

test("a command leads to its approval, and to the whole of its output as text", async () => {
  const { page, session } = await open({ prepare: decidedThings });
  await page.getByText("Approved by ana.").waitFor();
  await page.getByText("Denied by ben.").waitFor();
  await page.getByText("root@devvm journalctl").last().click();
  await page.getByRole("button", { name: "Open the whole output" }).click();
  await page.getByRole("region", { name: "whole output" }).getByText("<b>the end</b>").waitFor();
  const link = page.getByRole("link", { name: "As plain text" });
  expect(await link.getAttribute("href")).toBe(`/api/session/${session}/exec/5`);
  await page.getByRole("button", { name: "Ran by an approval" }).click();
  expect(await page.evaluate(() => document.activeElement?.id)).toBe(
    "approval-aaaaaaaa-0000-4000-8000-000000000001",
  );
  await page.getByText("observer@devvm tail -f").click();
  await page.getByText("The turn was stopped. 0 B of output.").waitFor();
});

test("an output that does not come says so", async () => {
  const { page, server } = await open({ prepare: decidedThings });
  const detail = "Nothing was kept of that command.";
  server.twists.push({ path: "/exec/5", twist: { kind: "answer", status: 404, body: { detail } } });
  await page.getByText("root@devvm journalctl").last().click();
  await page.getByRole("button", { name: "Open the whole output" }).click();
  await page.getByText(detail).waitFor();
});

test("the report of a session can be read, copied and taken along", async () => {
  const { page, server, session } = await openConnected();
  server.report = "# Incident\n\nThe disk was full. <b>planted</b>\n";
  await page.getByRole("button", { name: "Sessions" }).click();
  await page.getByRole("button", { name: "Report of the open session" }).click();
  await page.getByRole("region", { name: "report" }).getByText("<b>planted</b>").waitFor();
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download" }).click();
  expect((await download).suggestedFilename()).toBe("Devvm-does-not-answer.md");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy the report" }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe(server.report);
  expect(await page.getByRole("link", { name: "Open as text" }).getAttribute("href")).toBe(
    `/api/session/${session}/report`,
  );
});

async function openConnected(prepare: (server: FakeServer) => void = () => undefined): Promise<Opened> {
  const opened = await open({ prepare });
  await opened.page.getByText("Connected", { exact: true }).waitFor();
  return opened;
}

function withRunbooks(server: FakeServer): void {
  const [triage, ...rest] = server.facts.presets;
  server.facts = {
    ...server.facts,
    presets: [{ ...triage!, runbook: "triage" }, ...rest],
    runbooks: [{ name: "triage", title: "Triage", about: "Load, memory, disks, units, kernel" }],
  };
}
