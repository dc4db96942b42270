import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { approvalHashed } from "../../src/server/broker/approvals.ts";
import type { BrokerEvent } from "../../src/server/broker/broker.ts";
import { handClock, type HandClock } from "../doubles/hand-clock.ts";
import { newKey, saw } from "../power/stage.ts";
import { agentShell, brokerStage, shim, startShim, type BrokerStage, type Ran } from "./stage.ts";

const approvalMs = 600_000;

let clock: HandClock;
let stage: BrokerStage;
/** What a command that may not run would leave behind. */
let mark: string;

beforeEach(async () => {
  clock = handClock();
  stage = await brokerStage({ clock });
  mark = join(stage.dir, "mark");
});
afterEach(() => stage.close());

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
const kinds = () =>
  stage.events.map((event) => {
    if ("phase" in event) return `${event.kind} ${event.phase}`;
    return event.kind === "decision" ? event.decision : event.kind;
  });
const isDecision = (event: BrokerEvent, decision: string) =>
  event.kind === "decision" && event.decision === decision;

test("a privileged command waits, is shown with every byte of its stdin, and runs when an operator says yes", async () => {
  const input = Buffer.from("one\n\u001B[2Jtwo\n");
  const ran = shim(stage.door, ["root@devvm", `cat > ${mark}; echo written`], { input });
  const pending = await stage.asked();
  expect(stage.door.waiting()).toBe(true);
  expect(existsSync(mark)).toBe(false);
  expect(pending).toEqual({
    approval: expect.any(String),
    session_id: expect.any(String),
    target: "devvm",
    account: "rescue",
    command: `cat > ${mark}; echo written`,
    stdin: { bytes: input.length, sha256: sha256(input), text: input.toString() },
    sha256: expect.any(String),
    asked_at: "1970-01-01T00:00:00.000Z",
    expires_at: "1970-01-01T00:10:00.000Z",
    why: "The account rescue on devvm is privileged.",
  });
  const { approval, session_id, command } = pending;
  expect(pending.sha256).toBe(
    sha256(
      `["breakglass approval 1","${session_id}","${approval}","devvm","rescue",${JSON.stringify(command)},"${sha256(input)}"]`,
    ),
  );

  expect(await stage.decide(pending, "approve")).toEqual({ kind: "decided", decision: "approved" });
  expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from("written\n"), stderr: "" });
  expect(readFileSync(mark)).toEqual(input);
  expect(stage.events).toMatchObject([
    {
      kind: "approval",
      approval,
      command,
      account: "rescue",
      sha256: pending.sha256,
      stdin: { bytes: input.length, sha256: sha256(input), excerpt: input.toString() },
      expires_at: pending.expires_at,
      why: pending.why,
    },
    { kind: "decision", approval, decision: "approved" },
    { kind: "exec", phase: "started", account: "rescue", command, approval },
    { kind: "exec", phase: "settled", command, approval, end: { kind: "exited", code: 0 } },
  ]);
  expect(stage.actors).toEqual([undefined, "ana", undefined, undefined]);
  expect(stage.broker.approvals.pending()).toEqual([]);
  expect(stage.door.waiting()).toBe(false);
});

test("what was denied is not run, and the same is not asked again before the next turn", async () => {
  const args = ["root@devvm", `touch ${mark}`];
  const ran = shim(stage.door, args);
  expect(await stage.decide(await stage.asked(), "deny")).toEqual({ kind: "decided", decision: "denied" });
  expect(await ran).toMatchObject({
    code: 255,
    stderr: expect.stringMatching(/ana denied this\. Nothing was run\..*tell the operator/),
  });
  expect(await shim(stage.door, args)).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("denied exactly this"),
  });
  expect(kinds()).toEqual(["approval", "denied", "exec settled"]);
  const other = shim(stage.door, args, { input: Buffer.from("other stdin") });
  await stage.decide(await stage.asked(), "deny");
  await other;
  await stage.door.endTurn();
  stage.door.beginTurn();
  const again = shim(stage.door, args);
  await stage.decide(await stage.asked(), "deny");
  await again;
  expect(existsSync(mark)).toBe(false);
});

test("what nobody decides expires, and a decision that comes later changes nothing", async () => {
  const ran = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  const pending = await stage.asked();
  clock.advance(approvalMs - 1);
  expect(stage.broker.approvals.pending()).toEqual([pending]);
  clock.advance(1);
  expect(stage.broker.approvals.pending()).toEqual([]);
  expect(await ran).toMatchObject({ code: 255, stderr: expect.stringContaining("nobody decided") });
  expect(await stage.decide(pending, "approve")).toEqual({
    kind: "settled",
    decision: "expired",
    at: pending.expires_at,
  });
  expect(kinds()).toEqual(["approval", "expired"]);
  expect(stage.actors).toEqual([undefined, "breakglass"]);
  expect(existsSync(mark)).toBe(false);
});

test.each([
  ["the turn's end", "The turn ended.", () => stage.door.endTurn()],
  ["a freeze", "bob froze Breakglass.", () => stage.broker.freeze.set(true, "bob")],
  [
    "observe mode",
    "The mode became observe.",
    async () => {
      stage.mode = "observe";
      stage.door.modeChanged();
    },
  ],
  ["the door's closing", "The turn ended.", () => stage.door.close()],
])("%s voids what waits", async (_, reason, happens) => {
  const ran = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  const pending = await stage.asked();
  await happens();
  expect((await ran).code).toBe(255);
  expect(stage.events.at(-1)).toMatchObject({ kind: "decision", decision: "void", reason });
  expect(await stage.decide(pending, "approve")).toMatchObject({ kind: "settled", decision: "void" });
  expect(kinds()).toEqual(["approval", "void"]);
  expect(existsSync(mark)).toBe(false);
});

test("a request is void when whoever asked goes away", async () => {
  const child = startShim(stage.door, "ssh", ["root@devvm", `touch ${mark}`]);
  child.stdin!.end();
  const pending = await stage.asked();
  const gone = new Promise<void>((resolve) => {
    const stop = stage.broker.approvals.watch(() => {
      stop();
      resolve();
    });
  });
  child.kill("SIGKILL");
  await gone;
  expect(await stage.decide(pending, "approve")).toMatchObject({ kind: "settled", decision: "void" });
  expect(stage.events.at(-1)).toMatchObject({ reason: "Whoever asked went away." });
  expect(existsSync(mark)).toBe(false);
});

test("a change to another mode than observe leaves what waits alone", async () => {
  const ran = shim(stage.door, ["root@devvm", "echo ran"]);
  const pending = await stage.asked();
  for (const mode of ["autonomous", "supervised"] as const) {
    stage.mode = mode;
    stage.door.modeChanged();
  }
  await stage.decide(pending, "approve");
  expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from("ran\n") });
});

test("another request's hash, and another session, decide nothing", async () => {
  const ran = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  const pending = await stage.asked();
  const { approvals } = stage.broker;
  const { session_id, approval, target, account, command, stdin } = pending;
  const other = { session: session_id, approval, target, account, command, stdinSha256: stdin.sha256 };
  for (const hash of ["", pending.sha256.toUpperCase(), approvalHashed({ ...other, command: "id" })]) {
    const answer = { decision: "approve", sha256: hash } as const;
    expect(await approvals.decide(session_id, approval, answer, "ana")).toEqual({ kind: "another" });
  }
  const right = { decision: "approve", sha256: pending.sha256 } as const;
  expect(await approvals.decide(newKey(), approval, right, "ana")).toEqual({ kind: "none" });
  expect(await approvals.decide(session_id, newKey(), right, "ana")).toEqual({ kind: "none" });
  expect(approvals.pending()).toEqual([pending]);
  expect(kinds()).toEqual(["approval"]);
  await stage.decide(pending, "deny");
  await ran;
  expect(existsSync(mark)).toBe(false);
});

test("of two devices that decide at once exactly one does, and the other learns who it was", async () => {
  const ran = shim(stage.door, ["root@devvm", "echo ran"]);
  const pending = await stage.asked();
  const answers = await Promise.all([
    stage.decide(pending, "approve", "ana"),
    stage.decide(pending, "deny", "bob"),
  ]);
  expect(answers).toMatchObject([
    { kind: "decided", decision: "approved" },
    { kind: "settled", decision: "approved", by: "ana" },
  ]);
  expect((await ran).code).toBe(0);
  expect(await stage.decide(pending, "approve", "eve")).toMatchObject({ kind: "settled", by: "ana" });
  expect(kinds()).toEqual(["approval", "approved", "exec started", "exec settled"]);
});

test("bytes that are no text are shown as base64 and run as they are", async () => {
  const input = Buffer.concat([Buffer.from([0xff, 0x00, 0xfe]), randomBytes(20_000)]);
  const ran = shim(stage.door, ["root@devvm", `cat > ${mark}`], { input });
  const pending = await stage.asked();
  expect(pending.stdin).toEqual({
    bytes: input.length,
    sha256: sha256(input),
    base64: input.toString("base64"),
  });
  await stage.decide(pending, "approve");
  expect((await ran).code).toBe(0);
  expect(readFileSync(mark).equals(input)).toBe(true);
});

test("64 KiB of stdin are shown whole; with one byte more no operator is asked", async () => {
  const input = Buffer.alloc(64 * 1024, "x");
  const ran = shim(stage.door, ["root@devvm", "wc -c"], { input });
  const pending = await stage.asked();
  expect(pending.stdin.text).toBe(input.toString());
  await stage.decide(pending, "approve");
  expect((await ran).stdout.toString().trim()).toBe("65536");
  const more = await shim(stage.door, ["root@devvm", "wc -c"], { input: Buffer.concat([input, input]) });
  const oneMore = await shim(stage.door, ["root@devvm", "wc -c"], {
    input: Buffer.concat([input, Buffer.from("x")]),
  });
  for (const refused of [more, oneMore])
    expect(refused).toMatchObject({ code: 255, stderr: expect.stringContaining("longer than what") });
  expect(kinds().slice(0, 4)).toEqual(["approval", "approved", "exec started", "exec settled"]);
  expect(stage.events.slice(4)).toMatchObject([{ end: { kind: "refused" } }, { end: { kind: "refused" } }]);
});

test.each([
  ["2,000 lines", "true;\n".repeat(1998), "true;\n", "more than 2000 lines"],
  ["1,000 characters without a look", "\r\u202E".repeat(500), "\u200B", "more than 1000 characters"],
])(
  "%s are shown; with one more no operator is asked, and it says how to ask",
  async (_, most, more, sentence) => {
    const args = ["root@devvm", "cat >/dev/null"];
    const ran = shim(stage.door, args, { input: Buffer.from(most) });
    const pending = await stage.asked();
    expect(pending.stdin.text).toBe(most);
    await stage.decide(pending, "approve");
    expect((await ran).code).toBe(0);
    expect(await shim(stage.door, args, { input: Buffer.from(most + more) })).toMatchObject({
      code: 255,
      stderr: expect.stringMatching(new RegExp(`${sentence}.*ask in smaller pieces`)),
    });
    expect(stage.events.at(-1)).toMatchObject({ phase: "settled", end: { kind: "refused" } });
  },
);

test("a session has 256 KiB before the operators at most", async () => {
  const input = Buffer.alloc(64 * 1024 - 8, "x");
  const ask = (command = "wc -c") => shim(stage.door, ["root@devvm", command], { input });
  const asked: Promise<Ran>[] = [];
  for (let n = 0; n < 4; n++) {
    asked.push(ask());
    await stage.asked();
  }
  expect(await ask()).toMatchObject({
    code: 255,
    stderr: expect.stringMatching(/more than 256 KiB.*wait until some of it is decided.*smaller pieces/),
  });
  const short = shim(stage.door, ["root@devvm", "id"]);
  await stage.decide(await stage.asked(), "deny");
  await short;
  await stage.decide(stage.broker.approvals.pending()[0]!, "deny");
  asked.push(ask("wc -l"));
  await stage.asked();
  await stage.door.endTurn();
  for (const each of asked) expect((await each).code).toBe(255);
});

test("stdin that never ends is refused, and says what to type instead", async () => {
  // From here on no timer but that of stdin is seen between two events.
  await stage.broker.freeze.load();
  const child = startShim(stage.door, "ssh", ["root@devvm", `touch ${mark}`]);
  child.stdin!.write("and then");
  let said = "";
  child.stderr!.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const code = new Promise((resolve) => child.once("close", resolve));
  await expect.poll(() => clock.next(), { timeout: 50_000 }).toBe(10_000);
  expect(stage.door.waiting()).toBe(false);
  clock.advance(10_000);
  expect(await code).toBe(255);
  expect(said).toContain("ssh -n or < /dev/null");
  expect(stage.events).toMatchObject([
    { kind: "exec", phase: "settled", command: `touch ${mark}`, end: { kind: "refused" } },
  ]);
});

test("a script that is rewritten while it waits runs as it was shown", async () => {
  const script = join(stage.dir, "fix.sh");
  writeFileSync(script, "echo shown\n");
  const ran = agentShell(stage.door, "ssh root@devvm 'sh -s' < fix.sh", stage.dir);
  const pending = await stage.asked();
  expect(pending.stdin.text).toBe("echo shown\n");
  writeFileSync(script, `echo another; touch ${mark}\n`);
  await stage.decide(pending, "approve");
  expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from("shown\n") });
  expect(existsSync(mark)).toBe(false);
});

test("bash -c, base64, here-documents and variables all meet the same question", async () => {
  const evil = `touch ${mark}`;
  const coded = Buffer.from(`ssh root@devvm '${evil}'`).toString("base64");
  const lines = [
    `bash -c "ssh root@devvm '${evil}; true'"`,
    `echo ${coded} | base64 -d | bash`,
    `bash <<'END'\nssh root@devvm 'sh -s' <<'IN'\n${evil}\nIN\nEND`,
    `w=ro; ssh $w"ot"@devvm "$(echo ${Buffer.from(`${evil}; id`).toString("base64")} | base64 -d)" < /dev/null`,
    `echo ${evil} | ssh -l root devvm sh`,
  ];
  for (const line of lines) {
    const ran = agentShell(stage.door, line, stage.dir);
    const pending = await stage.asked();
    expect(`${pending.account}: ${pending.command} ${pending.stdin.text}`).toContain("rescue: ");
    expect(`${pending.command}${pending.stdin.text}`).toContain(evil);
    await stage.decide(pending, "deny");
    expect((await ran).code).toBe(255);
  }
  expect(existsSync(mark)).toBe(false);
});

test("control and bidirectional characters arrive exact, for whoever shows them to name", async () => {
  const command = "echo \u202Erm -rf /\u202C \u200B\u0007\u001B[31m; printf 'é\u00A0'";
  const input = Buffer.from("\u2066hidden\u2069\r\n\u0000");
  const ran = shim(stage.door, ["root@devvm", command], { input });
  const pending = await stage.asked();
  expect(pending.command).toBe(command);
  expect(pending.stdin.text).toBe(input.toString());
  await stage.decide(pending, "deny");
  await ran;
});

test("a request waits though nobody looks, and is there for whoever comes", async () => {
  const seen: number[] = [];
  const stop = stage.broker.approvals.watch(() => seen.push(stage.broker.approvals.pending().length));
  stop();
  const ran = shim(stage.door, ["root@devvm", "echo ran"]);
  await expect.poll(() => stage.broker.approvals.pending().length, { timeout: 50_000 }).toBe(1);
  expect(seen).toEqual([]);
  clock.advance(approvalMs - 1);
  await stage.decide(stage.broker.approvals.pending()[0]!, "approve");
  expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from("ran\n") });
});

test("a decision that cannot be recorded runs nothing", async () => {
  stage.recordFault = (event) => {
    if (isDecision(event, "approved")) throw new Error("disk full");
  };
  const ran = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  const pending = await stage.asked();
  expect(await stage.decide(pending, "approve")).toEqual({
    kind: "unrecorded",
    reason: "It could not be recorded in time.",
  });
  expect(await ran).toMatchObject({ code: 255, stderr: expect.stringContaining("could not be recorded") });
  expect(await stage.decide(pending, "approve")).toMatchObject({ kind: "settled", decision: "void" });
  expect(kinds()).toEqual(["approval", "void"]);
  expect(existsSync(mark)).toBe(false);
});

test("a decision that comes to the record too late is void, and the record says so behind it", async () => {
  const disk = Promise.withResolvers<void>();
  const tried = Promise.withResolvers<void>();
  stage.recordFault = (event) => {
    if (event.kind !== "decision") return;
    tried.resolve();
    return disk.promise;
  };
  const ran = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  const answer = stage.decide(await stage.asked(), "approve");
  await tried.promise;
  clock.advance(10_000);
  expect(await answer).toMatchObject({ kind: "unrecorded" });
  expect((await ran).code).toBe(255);
  disk.resolve();
  await expect.poll(kinds).toEqual(["approval", "approved", "void"]);
  expect(existsSync(mark)).toBe(false);
});

test("a request that cannot be recorded is shown to nobody, and not run", async () => {
  stage.recordFault = () => Promise.reject(new Error("disk full"));
  const ran = await shim(stage.door, ["root@devvm", `touch ${mark}`]);
  expect(ran).toMatchObject({ code: 255, stderr: expect.stringContaining("no operator was asked") });
  const disk = Promise.withResolvers<void>();
  const tried = Promise.withResolvers<void>();
  stage.recordFault = () => {
    tried.resolve();
    return disk.promise;
  };
  const hung = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  await tried.promise;
  clock.advance(10_000);
  expect((await hung).code).toBe(255);
  expect(stage.broker.approvals.pending()).toEqual([]);
  disk.resolve();
  await expect.poll(kinds).toEqual(["approval", "void"]);
  expect(existsSync(mark)).toBe(false);
});

test.each([
  [
    "a freeze, though lifted again",
    () => stage.broker.freeze.set(true, "bob").then(() => stage.broker.freeze.set(false, "bob")),
  ],
  [
    "observe mode, though left again",
    async () => {
      stage.mode = "observe";
      stage.door.modeChanged();
      stage.mode = "supervised";
      stage.door.modeChanged();
    },
  ],
])("%s between the decision and the act leaves it undone", async (_, comesBetween) => {
  stage.recordFault = async (event) => {
    if (isDecision(event, "approved")) await comesBetween();
  };
  const first = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  expect(await stage.decide(await stage.asked(), "approve")).toMatchObject({
    kind: "settled",
    decision: "void",
  });
  expect((await first).code).toBe(255);
  expect(kinds()).toEqual(["approval", "approved", "void"]);
  stage.recordFault = async (event) => {
    if (event.kind === "exec" && event.phase === "started") await comesBetween();
  };
  const second = shim(stage.door, ["root@devvm", `touch ${mark}`]);
  await stage.decide(await stage.asked(), "approve");
  expect((await second).code).toBe(255);
  expect(stage.events.at(-1)).toMatchObject({ phase: "settled", end: { kind: "refused" } });
  expect(existsSync(mark)).toBe(false);
});

test("a verb runs by an approval as an operation of the agent's", async () => {
  const ran = shim(stage.door, ["pve", "cycle"], { input: Buffer.from("goes nowhere") });
  const pending = await stage.asked();
  expect(pending).toMatchObject({
    target: "devvm",
    account: "hypervisor",
    command: "cycle",
    stdin: { bytes: 0, text: "" },
    why: "cycle changes the machine.",
  });
  expect(stage.power.history("devvm")).toEqual([]);
  await stage.decide(pending, "approve");
  (await stage.hypervisor.next()).answer({ stdout: saw("running") });
  expect((await ran).code).toBe(0);
  const { approval } = pending;
  expect(stage.events.slice(2)).toMatchObject([
    { kind: "operation", phase: "requested", verb: "cycle", approval },
    { kind: "operation", phase: "settled", verb: "cycle", outcome: { kind: "done" } },
  ]);
  expect(stage.power.history("devvm").map(({ by }) => by)).toEqual(["agent"]);
});

test("a verb is not sent when the machine has had another since the operator was asked", async () => {
  const ran = shim(stage.door, ["pve", "cycle"]);
  const pending = await stage.asked();
  const others = stage.power.runAndWait("devvm", "cycle", "bob");
  (await stage.hypervisor.next()).answer({ stdout: saw("running") });
  await others;
  await stage.decide(pending, "approve");
  expect(await ran).toMatchObject({
    code: 255,
    stderr: expect.stringMatching(/not sent: since the operator was asked, devvm has had a cycle by bob/),
  });
  expect(stage.hypervisor.calls).toEqual([]);
  expect(stage.events.at(-1)).toMatchObject({ phase: "settled", outcome: { kind: "refused" } });
});

test("a verb on a busy machine is answered busy without asking anybody", async () => {
  const others = stage.power.runAndWait("devvm", "stop", "bob");
  const call = await stage.hypervisor.next();
  expect(await shim(stage.door, ["pve", "cycle"])).toMatchObject({
    code: 75,
    stderr: expect.stringContaining("stop, asked for by bob"),
  });
  expect(stage.broker.approvals.pending()).toEqual([]);
  call.answer({ stdout: saw("stopped") });
  await others;
});
