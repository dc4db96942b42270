import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { outcomeOf } from "../../src/protocol/outcome.ts";
import { systemClock } from "../../src/server/clock.ts";
import { followJob, type Sending } from "../../src/server/power/follow-job.ts";
import type { Evidence } from "../../src/server/power/steps.ts";
import type { SshFinished, SshExit } from "../../src/server/ssh/ssh.ts";

const job = randomUUID();
const phase = (seq: number, name: string) =>
  `${name}.\nBG1 ${JSON.stringify({ seq, job, verb: "cycle", vmid: 102, phase: name, state: "running" })}\n`;
const ended = (seq: number) =>
  `It runs.\nBG1 ${JSON.stringify({ seq, job, result: "done", code: 0, state_after: "running", changed: true, text: "It runs." })}\n`;
const absent = (journal_seconds: number) =>
  `BG1 ${JSON.stringify({ seq: 0, job, result: "absent", code: 9, journal_seconds })}\n`;

const exited = (code: number): SshExit => ({ kind: "exited", code });
const unreachable: SshExit = {
  kind: "not_sent",
  cause: "unreachable",
  reason: "Not reached. Nothing was sent.",
};

/** A line that answers each call as the script says, its last entry again and again, and notes what was sent. */
async function follow(
  script: readonly { readonly says?: string; readonly exit: SshExit }[],
  sending: Sending = { words: ["v2", "cycle", job], resendMs: 60_000 },
) {
  const sent: string[] = [];
  let time = 0;
  const evidence: Evidence[] = [];
  let output = "";
  const report = await followJob(
    {
      ssh: {
        async run(_alias, words, { onOutput }): Promise<SshFinished> {
          const { says = "", exit } = script[Math.min(sent.length, script.length - 1)]!;
          sent.push(words.join(" "));
          // In pieces that break lines anywhere.
          for (const piece of says.match(/[^]{1,7}/g) ?? []) onOutput?.("stdout", piece);
          return { exit, stdout: says, stderr: "", droppedBytes: 0, deadlinePassed: false };
        },
      },
      clock: {
        ...systemClock,
        after(ms, callback) {
          time += ms;
          setImmediate(callback);
          return () => {};
        },
      },
      monotonic: () => time,
      alias: "devvm-power",
      job,
      hear: { output: (text) => (output += text), evidence: (each) => evidence.push(each) },
    },
    sending,
  );
  return { report, sent, output, evidence, outcome: outcomeOf("cycle", report) };
}

test("a Job is followed to its end, its words live and its evidence apart", async () => {
  const probe = `BG1 ${JSON.stringify({ seq: 1, job, probe: "host", end: "answered", output: "BG1 {}\nload" })}\n`;
  const { report, output, evidence, outcome } = await follow([
    { says: phase(0, "asked") + probe + phase(2, "stopping") + ended(3), exit: exited(0) },
  ]);
  expect(output).toBe("asked.\nstopping.\nIt runs.\n");
  expect(evidence).toEqual([{ probe: "host", end: "answered", output: "BG1 {}\nload" }]);
  expect(report.stdout).not.toContain("load");
  expect(outcome).toEqual({ kind: "done", changed: true, state: "running" });
});

test("a line that breaks anywhere is taken up where it broke, with nothing lost or said twice", async () => {
  const whole = phase(0, "asked") + phase(1, "stopping") + phase(2, "off") + ended(3);
  for (let at = 0; at < whole.length; at += 3) {
    const before = whole.slice(0, at);
    const next = [...before.matchAll(/BG1 .*\n/g)].length;
    const from = Math.max(0, next - 1);
    const rest = [phase(0, "asked"), phase(1, "stopping"), phase(2, "off"), ended(3)].slice(from).join("");
    const { output, sent, outcome } = await follow([
      { says: before, exit: exited(255) },
      { says: rest, exit: exited(0) },
    ]);
    expect(sent).toEqual([`v2 cycle ${job}`, `v2 attach ${job} ${from}`]);
    expect(output.replace(/\[.*\]\n/, "")).toBe("asked.\nstopping.\noff.\nIt runs.\n");
    expect(outcome.kind).toBe("done");
  }
});

test("while the hypervisor cannot be reached it is asked again and again", async () => {
  const { sent, outcome } = await follow([
    { says: phase(0, "asked"), exit: exited(255) },
    { exit: unreachable },
    { exit: { kind: "signalled", signal: "SIGKILL" } },
    { exit: unreachable },
    { says: phase(0, "asked") + ended(1), exit: exited(0) },
  ]);
  expect(sent).toHaveLength(5);
  expect(outcome.kind).toBe("done");
});

test("what was certainly not sent is refused, and not tried again", async () => {
  const { sent, report, outcome } = await follow([{ exit: unreachable }]);
  expect(sent).toHaveLength(1);
  expect(report.sent).toBe(false);
  expect(outcome).toEqual({ kind: "refused", reason: "Not reached. Nothing was sent." });
});

test("a Job that never arrived is sent once more, and only once", async () => {
  const lost = { exit: exited(255) };
  const never = { says: absent(1_000), exit: exited(9) };
  const { sent, outcome } = await follow([
    lost,
    never,
    { says: phase(0, "asked") + ended(1), exit: exited(0) },
  ]);
  expect(sent).toEqual([`v2 cycle ${job}`, `v2 attach ${job} 0`, `v2 cycle ${job}`]);
  expect(outcome.kind).toBe("done");
  const twice = await follow([lost, never, lost, never]);
  expect(twice.sent.filter((words) => words === `v2 cycle ${job}`)).toHaveLength(2);
  expect(twice.outcome).toMatchObject({
    kind: "refused",
    reason: expect.stringContaining("nothing was done"),
  });
});

test("it is not sent again after its time, nor when the host began its journal later", async () => {
  const lost = { exit: exited(255) };
  const late = await follow([lost, { says: absent(1_000), exit: exited(9) }], {
    words: ["v2", "cycle", job],
    resendMs: -1,
  });
  expect(late.sent.filter((words) => words === `v2 cycle ${job}`)).toHaveLength(1);
  expect(late.outcome.kind).toBe("refused");
  const young = await follow([lost, { says: absent(0), exit: exited(9) }]);
  expect(young.sent).toHaveLength(2);
  expect(young.outcome).toMatchObject({
    kind: "unknown",
    reason: expect.stringContaining("restarted since"),
  });
});

test("a Job that was heard and is not known any more may have been carried out", async () => {
  const { sent, outcome } = await follow([
    { says: phase(0, "asked") + phase(1, "stopping"), exit: exited(255) },
    { says: absent(1_000), exit: exited(9) },
  ]);
  expect(sent).toHaveLength(2);
  expect(outcome.kind).toBe("unknown");
});

test("after a restart it is only asked about, and a host that never got it says so", async () => {
  const askedAt = new Date(Date.now() - 5_000);
  const known = await follow([{ says: phase(0, "asked") + ended(1), exit: exited(0) }], { askedAt });
  expect(known.sent).toEqual([`v2 attach ${job} 0`]);
  expect(known.outcome.kind).toBe("done");
  const never = await follow([{ says: absent(1_000), exit: exited(9) }], { askedAt });
  expect(new Set(never.sent)).toEqual(new Set([`v2 attach ${job} 0`]));
  expect(never.outcome).toMatchObject({
    kind: "refused",
    reason: expect.stringContaining("nothing was done"),
  });
  const rebooted = await follow([{ says: absent(3), exit: exited(9) }], { askedAt });
  expect(rebooted.outcome.kind).toBe("unknown");
});

test("a reset that does not apply is the Job's own end, not its absence", async () => {
  const nothing = `BG1 ${JSON.stringify({ seq: 1, job, result: "nothing", code: 9, text: "It is off." })}\n`;
  const { sent, outcome } = await follow([{ says: phase(0, "asked") + nothing, exit: exited(9) }]);
  expect(sent).toHaveLength(1);
  expect(outcome).toEqual({ kind: "refused", reason: "It is off." });
});

test("what is not our forced command is unknown, in its own words, and is not asked again", async () => {
  const { sent, report, outcome } = await follow([{ says: "bash: no such file\n", exit: exited(127) }]);
  expect(sent).toHaveLength(1);
  expect(report.stdout).toContain("no such file");
  expect(outcome).toMatchObject({ kind: "unknown", reason: expect.stringContaining("breakglass-host") });
});

test("that it never arrived is not the last word while it may still be on its way", async () => {
  const lost = { exit: exited(255) };
  const never = { says: absent(1_000), exit: exited(9) };
  const { sent, outcome } = await follow([
    lost,
    never,
    lost,
    never,
    never,
    never,
    { says: phase(0, "asked") + ended(1), exit: exited(0) },
  ]);
  expect(sent.filter((words) => words === `v2 cycle ${job}`)).toHaveLength(2);
  expect(outcome.kind).toBe("done");
});

test("a call that dies after it has spoken is a lost line, whatever its exit code", async () => {
  const { sent, outcome } = await follow([
    { says: phase(0, "asked"), exit: exited(137) },
    { says: phase(0, "asked") + phase(1, "off"), exit: exited(2) },
    { says: phase(1, "off") + ended(2), exit: exited(0) },
  ]);
  expect(sent).toEqual([`v2 cycle ${job}`, `v2 attach ${job} 0`, `v2 attach ${job} 1`]);
  expect(outcome.kind).toBe("done");
});
