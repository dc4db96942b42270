import { expect, describe, test } from "vitest";
import type { Page } from "playwright-core";
import { shot } from "./browser.ts";
import { judged } from "./axe.ts";
import { rig } from "./rig.ts";
import {
  aRequest,
  beginTriage,
  binaryRequest,
  decidedThings,
  triageByRunbook,
  trickyRequest,
  verbRequest,
} from "./stories.ts";

const { open } = rig();

const looks = [
  ["phone", { width: 390, height: 844 }, "dark"],
  ["small", { width: 320, height: 568 }, "light"],
  ["desk", { width: 1280, height: 800 }, "light"],
] as const;

describe.each(looks)(
  "on a %s what the agent may do is readable and has no serious fault of access",
  (name, viewport, colorScheme) => {
    const size = viewport.width > 400 ? "desk" : "phone";
    const options = { viewport, colorScheme };
    const look = async (page: Page, what: string, errors: readonly string[]) => {
      await shot(page, `${what}-${name}`, "agent");
      expect(await judged(page)).toEqual([]);
      expect(errors).toEqual([]);
    };

    test("at a request, one with input, a binary one and a verb", async () => {
      const { page, errors } = await open({
        size,
        options,
        prepare: (server, session) => {
          beginTriage(server, session);
          for (const asked of [
            aRequest(session, 1),
            trickyRequest(session, 2),
            binaryRequest(session, 3),
            verbRequest(session, 4),
          ])
            server.askApproval(asked);
        },
      });
      const dialog = page.getByRole("dialog", { name: /The agent asks/ });
      await enabled(page);
      await look(page, "approval", errors);
      for (const what of ["approval-input", "approval-binary", "approval-verb"]) {
        await dialog.getByRole("button", { name: "The next request" }).click();
        await enabled(page);
        await look(page, what, errors);
      }
      await dialog.getByRole("button", { name: "Put aside" }).click();
      await page.getByText("4 requests wait for approval").waitFor();
      await look(page, "approval-aside", errors);
    });

    test("at its mode, frozen, and without the model", async () => {
      const { page, errors, server, session } = await open({
        size,
        options,
        prepare: (server) => {
          const [triage, ...rest] = server.facts.presets;
          server.facts = {
            ...server.facts,
            presets: [{ ...triage!, runbook: "triage" }, ...rest],
            runbooks: [
              {
                name: "triage",
                title: "Triage",
                about: "Load, memory, disks, units, kernel: what looks wrong?",
              },
              { name: "disk", title: "Disk", about: "What fills it" },
            ],
          };
        },
      });
      await page.getByText("Connected", { exact: true }).waitFor();
      server.setMode(session, {
        mode: "autonomous",
        until: new Date(Date.now() + 12 * 60_000).toISOString(),
        back_to: "supervised",
      });
      await page.getByText(/autonomous 12 min/).click();
      await page.getByRole("dialog", { name: "The agent" }).waitFor();
      await look(page, "agent", errors);
      await page.getByRole("button", { name: "Freeze" }).click();
      await page.getByRole("dialog", { name: "Freeze everything?" }).waitFor();
      await look(page, "freeze-question", errors);
      await page.getByRole("button", { name: "Freeze now" }).click();
      await page.getByRole("button", { name: "Lift the freeze" }).waitFor();
      await page.keyboard.press("Escape");
      await page.getByText("Frozen by ana:").waitFor();
      await look(page, "frozen", errors);
      const detail = "It answered 529 (overloaded). Runbooks and Power work without it.";
      server.setNow({ frozen: null, model: { state: "gone", since: new Date().toISOString(), detail } });
      await page.getByText(detail).waitFor();
      await page.getByLabel("Message to the agent").fill("The site is down since 9");
      await page.getByRole("button", { name: "Send" }).click();
      await page.getByRole("button", { name: "Send it anyway" }).waitFor();
      await look(page, "model-gone", errors);
    });

    test("in a transcript, with a whole output and the report", async () => {
      const { page, errors, server } = await open({
        size,
        options,
        prepare: (server, session) => {
          triageByRunbook(server, session);
          decidedThings(server, session);
          server.report = "# Incident\n\n| time | what |\n|---|---|\n| 09:41 | Triage |\n";
        },
      });
      await page.getByText("Denied by ben.").waitFor();
      await look(page, "transcript", errors);
      await page.getByText("The root file system is full, and a unit").scrollIntoViewIfNeeded();
      await look(page, "runbook", errors);
      await page.getByText("root@devvm journalctl").last().click();
      await page.getByRole("button", { name: "Open the whole output" }).click();
      await page.getByText("<b>the end</b>").waitFor();
      await page.getByRole("button", { name: "Ran by an approval" }).scrollIntoViewIfNeeded();
      await look(page, "whole-output", errors);
      await page.getByRole("button", { name: "Sessions" }).click();
      await page.getByRole("button", { name: "Report of the open session" }).click();
      await page.getByText("| 09:41 | Triage |").waitFor();
      await look(page, "report", errors);
      expect(server.asked("/report")).toHaveLength(1);
    });
  },
);

/** Read to its end, and no longer guarded. */
async function enabled(page: Page): Promise<void> {
  const approve = page.locator("button.approve:enabled");
  const on = page.getByRole("button", { name: "There is more below" });
  while ((await approve.count()) === 0) {
    await approve.or(on).first().waitFor();
    if (await on.isVisible()) await on.click();
  }
}
