import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";
import type { Forensics } from "../../src/protocol/forensics.ts";
import { judged } from "./axe.ts";
import { shot, type Size } from "./browser.ts";
import type { FakeServer } from "./fake-server.ts";
import { rig } from "./rig.ts";
import { beginTriage, endTriage } from "./stories.ts";

const { open } = rig();

describe.each(["phone", "desk"] satisfies Size[])(
  "on a %s the page is readable and has no serious fault of access",
  (size) => {
    test("when the machine is up and nothing was asked", async () => {
      const { page, errors } = await open({ size });
      await page.getByRole("heading", { name: "What is wrong with devvm?" }).waitFor();
      await page.getByText("Connected", { exact: true }).waitFor();
      await look(page, `idle-${size}`, errors);
    });

    test("while a turn runs", async () => {
      const { page, errors, server } = await open({ size, prepare: beginTriage });
      await page.getByText("The agent is working", { exact: true }).waitFor();
      const text = "One unit has failed: `postgresql.service`. I look at why";
      server.frame("delta", { turn: "x", block: 7, from: 0, text });
      await page.getByText("One unit has failed").waitFor();
      await look(page, `turn-${size}`, errors);
    });

    test("when a triage has ended with findings", async () => {
      const { page, errors } = await open({
        size,
        prepare: (server, session) => {
          beginTriage(server, session);
          endTriage(server, session);
        },
      });
      await page.getByRole("cell", { name: "112 GiB" }).waitFor();
      await look(page, `triage-${size}`, errors);
    });

    test("at the power of the machine, its confirm and the output of a cycle", async () => {
      const { page, errors, server } = await open({ size, prepare: withLast });
      await page.getByText("Connected", { exact: true }).waitFor();
      if (size === "phone") await page.getByRole("button", { name: "Power" }).click();
      await page.getByText("Last: cycled").waitFor();
      await look(page, `power-${size}`, errors);
      await page.getByRole("button", { name: /^Cycle/ }).click();
      await page.getByRole("dialog", { name: "Cycle devvm?" }).waitFor();
      await look(page, `confirm-${size}`, errors);
      server.whenAsked = ({ id }) => server.progress(id, {}, cycleOutput);
      await page.getByRole("button", { name: "Cycle devvm now" }).click();
      await page.getByText("off is verified").waitFor();
      await look(page, `cycle-running-${size}`, errors);
      const [id] = server.operations.keys();
      const outcome = {
        kind: "failed",
        code: 6,
        reason: "The machine is OFF: it was stopped and did not start. qm start: no space",
      } as const;
      server.progress(
        id!,
        { outcome, exit_code: 6, settled_at: new Date().toISOString(), forensics: gathered },
        "start failed three times\n",
      );
      await page.getByText("The machine is OFF", { exact: true }).first().waitFor();
      await look(page, `cycle-off-${size}`, errors);
      server.screen = readFileSync("src/web/public/icon-512.png");
      await page.getByText("Evidence", { exact: true }).click();
      await page.getByText("qm-config").click();
      await page.getByText("name: devvm").waitFor();
      await page.getByRole("img", { name: "The machine's screen before it was touched" }).waitFor();
      await look(page, `forensics-${size}`, errors);
    });

    test("when the machine has stalled, with the evidence, and the line is lost", async () => {
      const { page, errors, server } = await open({ size, prepare: stalled });
      await page.getByText("Stalled?").first().waitFor();
      await look(page, `stalled-${size}`, errors);
      await page.getByRole("button", { name: /devvm/ }).first().click();
      await page.getByText("no banner within 3 s").waitFor();
      await look(page, `evidence-${size}`, errors);
      await page.keyboard.press("Escape");
      server.streamsDown = true;
      server.dropStreams();
      await page.getByText("was stalled?").first().waitFor();
      await look(page, `reconnecting-${size}`, errors);
    });

    test("when a host key was refused, at its question, and before its part of the page has come", async () => {
      const refused_host_keys = [
        {
          side: "hypervisor",
          known: "SHA256:m3JxpUuDFM6QvWm0b2oQ3Y0gkq3sV7Hc1tV0Y4pXn4A",
          shown: "SHA256:Zr8bYc0dQ1tq5n0wK7JfGm2uS9xL4vT6hE3pR1iOaNs",
        },
      ] as const;
      const { page, errors, url } = await open({
        size,
        prepare: (server) => server.setTarget({ refused_host_keys }),
      });
      await page.getByText("has changed").waitFor();
      await look(page, `host-key-${size}`, errors);
      await page.getByRole("button", { name: "Accept this key" }).click();
      await page.getByRole("dialog").waitFor();
      await look(page, `host-key-question-${size}`, errors);
      await page.route("**/later-*", (route) => route.abort());
      await page.goto(`${url}/?again`);
      await page.getByText("did not come").waitFor();
      await look(page, `host-key-later-${size}`, errors);
    });

    test("with everything that can go wrong in a transcript", async () => {
      const { page, errors } = await open({
        size,
        prepare: (server, session) => {
          server.append(session, { kind: "user", text: "Try to repair it" }, { by: "ana" });
          server.append(session, {
            kind: "error",
            error: "The model cannot be reached (529). Nothing was lost: ask again, or use Power.",
          });
          server.append(session, {
            kind: "interrupted",
            unknown: ["ssh devvm systemctl restart postgresql"],
          });
          server.append(session, { kind: "turn_end", reason: "interrupted" });
          const operation = {
            kind: "operation",
            operation: "33333333-3333-4333-8333-333333333333",
            target: "devvm",
          } as const;
          const outcome = {
            kind: "unknown",
            reason: "The line to the hypervisor was lost. Ask for status before you act again.",
          } as const;
          server.append(
            session,
            { ...operation, phase: "settled", verb: "cycle", outcome, durable: false },
            { by: "agent" },
          );
          server.append(session, { kind: "cancelled" });
          const action = { label: "Use it", path: "/api/mend/model" };
          const text =
            "A model credential was found in the environment. The demo does not use it unless you say so.";
          server.facts = {
            ...server.facts,
            notices: [{ id: "credential", level: "info", text, action }],
            isolation: { kind: "none", says: "Not confined." },
            agent_problem:
              "No model is configured. Set ANTHROPIC_API_KEY and start again; Power works without it.",
          };
        },
      });
      await page.getByText("not confined").waitFor();
      await look(page, `trouble-${size}`, errors);
    });

    test("in light", async () => {
      const { page, errors } = await open({
        size,
        options: { colorScheme: "light" },
        prepare: (server, session) => {
          beginTriage(server, session);
          endTriage(server, session);
          withLast(server);
        },
      });
      await page.getByRole("cell", { name: "112 GiB" }).waitFor();
      if (size === "phone") await page.getByRole("button", { name: "Power" }).click();
      await look(page, `light-${size}`, errors);
    });

    test("at the list of sessions and signed out", async () => {
      const { page, errors, server } = await open({
        size,
        prepare: (server) => {
          server.newSession("Disk of devvm is full again");
          server.sessions[0] = { ...server.sessions[0]!, running: true };
          server.newSession("New session");
        },
      });
      await page.getByRole("button", { name: "Sessions" }).click();
      await page.getByText("running").waitFor();
      await look(page, `sessions-${size}`, errors);
      server.signedInByDefault = false;
      await page.reload();
      await page.getByLabel("Token").waitFor();
      await look(page, `sign-in-${size}`, errors);
    });
  },
);

const gathered: Forensics = {
  id: "20261120T094102Z-102-4711",
  verdict: "io-stall-suspected",
  screen: true,
  probes: [
    { probe: "qm-config", end: "answered", output: "agent: 1\nname: devvm\n" },
    { probe: "guest-agent", end: "hung", output: "" },
    { probe: "qmp-blockstats-1", end: "answered", output: '{"return": []}', bytes: 48_000 },
    { probe: "qm-pending", end: "failed", output: "ipcc_send_rec[1] failed: Connection refused" },
  ],
};

const cycleOutput = `forensics: kept as f-20261120-094102
stop: asked QEMU to quit
stop: pid 4127 is gone
BG1 {"seq":3,"phase":"off"}
off is verified
start: first attempt
`;

function withLast(server: FakeServer): void {
  const at = new Date(Date.now() - 40_000).toISOString();
  server.setTarget({
    last: { id: "44444444-4444-4444-8444-444444444444", verb: "cycle", by: "ana", at, outcome: "done" },
  });
}

function stalled(server: FakeServer): void {
  const at = new Date(Date.now() - 2000).toISOString();
  server.setTarget({
    state: "stalled",
    since: new Date(Date.now() - 5 * 60_000).toISOString(),
    evidence: [
      { probe: "ssh banner", ok: false, seen: "connected, but no banner within 3 s", at },
      { probe: "hypervisor status", ok: true, seen: "running, QMP answers in 4 ms", at },
      { probe: "disk counters", ok: false, seen: "frozen for 20 s: 0 operations finished", at },
    ],
  });
}

/** A picture for people, and axe for what it can judge. */
async function look(page: Page, name: string, errors: readonly string[]): Promise<void> {
  await shot(page, name);
  expect(await judged(page)).toEqual([]);
  expect(errors).toEqual([]);
}
