import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Door } from "../../src/server/broker/broker.ts";
import { frame } from "../../src/server/broker/frames.ts";
import { encode } from "../../src/server/process/frames.ts";
import { handClock, type HandClock } from "../doubles/hand-clock.ts";
import { newKey, saw } from "../power/stage.ts";
import { brokerStage, shim, type BrokerStage, type Pending } from "./stage.ts";

let clock: HandClock;
let stage: BrokerStage;

beforeEach(async () => {
  clock = handClock();
  stage = await brokerStage({ clock });
});
afterEach(() => stage.close());

const pending = () => stage.broker.approvals.pending();
const accounts = () =>
  stage.events.flatMap((event) =>
    event.kind === "exec" && event.phase === "started" ? [event.account] : [],
  );

/** Asks without the price of a process. */
function request(door: Door, command: string): Socket {
  const socket = connect(door.socketPath);
  const asked = { token: door.token, program: "ssh", argv: ["root@devvm", command] };
  socket.write(encode(frame.request, Buffer.from(JSON.stringify(asked))));
  return socket;
}

/** The same with an empty stdin. */
async function knock(door: Door, command: string): Promise<string> {
  const socket = request(door, command);
  let said = "";
  for await (const chunk of socket) {
    // The first thing to come is the leave to send stdin, or the end.
    if (said === "" && socket.writable) socket.write(encode(frame.stdinEnd));
    said += String(chunk);
  }
  return said;
}

type Way = "runs" | "waits" | "refused";

/** How far a request comes; what waits is approved. */
async function way(args: readonly string[]): Promise<Way> {
  const ran = shim(stage.door, args);
  const { approvals } = stage.broker;
  const asked = Promise.withResolvers<Pending>();
  const stop = approvals.watch(() => approvals.pending().forEach(asked.resolve));
  const first = await Promise.race([ran, asked.promise]).finally(stop);
  if ("code" in first) return first.code === 0 ? "runs" : "refused";
  await stage.decide(first, "approve");
  return (await ran).code === 0 ? "waits" : "refused";
}

test.each([
  [
    "observe",
    { plain: "runs", observer: "runs", root: "refused", verb: "refused" },
    ["observer", "observer"],
  ],
  [
    "supervised",
    { plain: "runs", observer: "runs", root: "waits", verb: "waits" },
    ["observer", "observer", "rescue"],
  ],
  [
    "autonomous",
    { plain: "runs", observer: "runs", root: "runs", verb: "runs" },
    ["rescue", "observer", "rescue"],
  ],
] as const)("in %s mode accounts and verbs are as the table says", async (mode, ways, ranAs) => {
  stage.mode = mode;
  stage.door.modeChanged();
  expect(await way(["devvm", "echo plain"])).toBe(ways.plain);
  expect(await way(["observer@devvm", "echo observer"])).toBe(ways.observer);
  expect(await way(["root@devvm", "echo root"])).toBe(ways.root);
  expect(accounts()).toEqual(ranAs);
  void stage.hypervisor.next().then((call) => call.answer({ stdout: saw("stopped") }));
  expect(await way(["devvm-power", "stop"])).toBe(ways.verb);
  if (ways.verb === "refused") {
    expect(stage.power.history("devvm")).toEqual([]);
    return;
  }
  for (const verb of ["status", "forensics"]) {
    const read = way(["pve", verb]);
    (await stage.hypervisor.next()).answer({ stdout: "seen\n" });
    expect(await read).toBe("runs");
  }
});

test("in observe mode what reads the hypervisor runs, and what is refused says what to do", async () => {
  stage.mode = "observe";
  for (const verb of ["status", "forensics"]) {
    const read = shim(stage.door, ["pve", verb]);
    (await stage.hypervisor.next()).answer({ stdout: "seen\n" });
    expect((await read).code).toBe(0);
  }
  for (const args of [
    ["root@devvm", "id"],
    ["pve", "reset"],
  ])
    expect(await shim(stage.door, args)).toMatchObject({
      code: 255,
      stderr: expect.stringMatching(/the mode is observe.*Nothing was (run|sent).*tell the operator/),
    });
  expect(pending()).toEqual([]);
});

test("where only a privileged account exists every command waits for an operator, save in autonomous mode", async () => {
  await stage.close();
  stage = await brokerStage({ clock, unprivileged: false });
  for (const mode of ["supervised", "observe"] as const) {
    stage.mode = mode;
    stage.door.modeChanged();
    const ran = shim(stage.door, ["devvm", "echo ran"]);
    const asked = await stage.asked();
    expect(asked).toMatchObject({
      account: "rescue",
      why: "The account rescue on devvm is privileged, and there is no other.",
    });
    await stage.decide(asked, "approve");
    expect(await ran).toMatchObject({ code: 0, stdout: Buffer.from("ran\n") });
  }
  expect((await shim(stage.door, ["root@devvm", "true"])).stderr).toContain("the mode is observe");
  stage.mode = "autonomous";
  expect(await way(["devvm", "true"])).toBe("runs");
  expect(pending()).toEqual([]);
});

test.each([
  [
    "privileged",
    "it is in the group docker.",
    "should own nothing, but is privileged: it is in the group docker.",
  ],
  ["unknown", "it gave no answer.", "could not be shown to own nothing: it gave no answer."],
] as const)(
  "an observing account that is %s is asked for like a privileged one",
  async (kind, because, why) => {
    stage.standing = { kind, because };
    for (const mode of ["supervised", "observe"] as const) {
      stage.mode = mode;
      stage.door.modeChanged();
      for (const machine of ["devvm", "observer@devvm"]) {
        const ran = shim(stage.door, [machine, "echo ran"]);
        const asked = await stage.asked();
        expect(asked).toMatchObject({ account: "observer", why: `The account observer on devvm ${why}` });
        await stage.decide(asked, "approve");
        expect((await ran).code).toBe(0);
      }
    }
    stage.standing = { kind: "owns_nothing" };
    expect(await way(["devvm", "true"])).toBe("runs");
  },
);

test("in autonomous mode agents have two verbs within an hour, and for more an operator is asked", async () => {
  stage.mode = "autonomous";
  stage.door.modeChanged();
  const cycle = async () => {
    const ran = shim(stage.door, ["pve", "cycle"]);
    (await stage.hypervisor.next()).answer({ stdout: saw("running") });
    expect((await ran).code).toBe(0);
  };
  await cycle();
  await cycle();
  const third = shim(stage.door, ["pve", "cycle"]);
  const asked = await stage.asked();
  expect(asked.why).toBe("Agents have used 2 verbs on devvm within the hour.");
  await stage.decide(asked, "approve");
  (await stage.hypervisor.next()).answer({ stdout: saw("running") });
  expect((await third).code).toBe(0);
  const fourth = shim(stage.door, ["pve", "cycle"]);
  await stage.decide(await stage.asked(), "deny");
  expect((await fourth).code).toBe(255);
  clock.advance(3_600_000);
  await cycle();
});

test("the share is asked for again right before a verb is sent", async () => {
  stage.mode = "autonomous";
  stage.door.modeChanged();
  stage.recordFault = async (event) => {
    if (event.kind !== "operation" || event.phase !== "requested") return;
    // Meanwhile another session's agent has had both.
    for (let n = 0; n < 2; n++) {
      const other = stage.power.runAndWait("devvm", "cycle", "agent");
      (await stage.hypervisor.next()).answer({ stdout: saw("running") });
      await other;
    }
  };
  expect(await shim(stage.door, ["pve", "cycle"])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("Agents have used 2 verbs on devvm within the hour. Ask again"),
  });
  expect(stage.power.history("devvm").length).toBe(2);
});

test("while it is not known what agents have used, an operator is asked", async () => {
  await stage.close();
  stage = await brokerStage({ clock, recovered: false });
  stage.mode = "autonomous";
  stage.door.modeChanged();
  const ran = shim(stage.door, ["pve", "cycle"]);
  const asked = await stage.asked();
  expect(asked.why).toContain("could not be read from the record");
  await stage.decide(asked, "deny");
  expect((await ran).code).toBe(255);
});

test("agents gather forensics twenty times within an hour, and no more", async () => {
  for (let n = 0; n < 20; n++) {
    const gathered = stage.power.runAndWait("devvm", "forensics", "agent");
    (await stage.hypervisor.next()).answer({ stdout: "seen\n" });
    await gathered;
  }
  expect(await shim(stage.door, ["pve", "forensics"])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("20 times within the hour"),
  });
  expect(stage.hypervisor.calls).toEqual([]);
  clock.advance(3_600_000);
  const ran = shim(stage.door, ["pve", "forensics"]);
  (await stage.hypervisor.next()).answer({ stdout: "seen\n" });
  await ran;
});

test("what autonomous mode allowed is not sent once the mode is another", async () => {
  const mark = join(stage.dir, "mark");
  const backToSupervised = (phase: string) => (event: { readonly phase?: string }) => {
    if (event.phase !== phase) return;
    stage.mode = "supervised";
    stage.door.modeChanged();
  };
  stage.mode = "autonomous";
  stage.recordFault = (event) => backToSupervised("started")(event as { phase?: string });
  expect(await shim(stage.door, ["devvm", `touch ${mark}`])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("The mode became supervised. It was not sent."),
  });
  stage.mode = "autonomous";
  stage.recordFault = (event) => backToSupervised("requested")(event as { phase?: string });
  expect(await shim(stage.door, ["pve", "cycle"])).toMatchObject({
    code: 255,
    stderr: expect.stringContaining("cycle was not sent: The mode became supervised."),
  });
  expect(existsSync(mark)).toBe(false);
  expect(stage.hypervisor.calls).toEqual([]);
});

test("a grant that ran out unnoticed allows nothing more", async () => {
  stage.mode = "autonomous";
  expect(await way(["devvm", "true"])).toBe("runs");
  stage.recordFault = (event) => {
    if ("phase" in event && event.phase === "requested") stage.mode = "observe";
  };
  expect((await shim(stage.door, ["pve", "stop"])).stderr).toContain("The mode became observe.");
  expect(stage.hypervisor.calls).toEqual([]);
});

test("eight requests of a session wait at most, and sixteen of all", async () => {
  const other = async (): Promise<Door> => {
    const door = await stage.broker.open({ id: newKey(), mode: () => "supervised", record: async () => {} });
    door.beginTurn();
    return door;
  };
  const doors = [stage.door, await other(), await other()] as const;
  const answers: Promise<string>[] = [];
  const fill = async (door: Door) => {
    for (let n = 0; n < 8; n++) answers.push(knock(door, `echo ${n}`));
    const waiting: Pending[] = [];
    while (waiting.length < 8) waiting.push(await stage.asked());
  };
  await fill(doors[0]);
  expect(await knock(doors[0], "echo 8")).toContain("8 requests of this session wait");
  await fill(doors[1]);
  expect(await knock(doors[2], "echo 16")).toContain("16 requests wait");
  expect(pending().length).toBe(16);
  expect(await shim(stage.door, ["devvm", "echo reading goes on"])).toMatchObject({ code: 0 });
  await stage.decide(pending()[0]!, "deny");
  expect(await answers[0]).toContain("denied this");
  expect(stage.events.filter(({ kind }) => kind === "exec")).toMatchObject([
    { command: "echo 8", end: { kind: "refused", reason: expect.stringContaining("8 requests") } },
    { phase: "started" },
    { phase: "settled" },
  ]);
  const next = knock(doors[2], "echo next");
  await stage.decide(await stage.asked(), "deny");
  expect(await next).toContain("denied this");
  await Promise.all(doors.map((door) => door.endTurn()));
  expect(pending()).toEqual([]);
  for (const answer of answers.slice(1)) expect(await answer).toContain("The turn ended.");
});

test("one turn asks an operator a hundred times at most", async () => {
  for (let n = 0; n < 100; n++) {
    const ran = knock(stage.door, `echo ${n}`);
    await stage.decide(await stage.asked(), "deny");
    await ran;
  }
  expect(await knock(stage.door, "echo 100")).toContain("as often as it may");
  await stage.door.endTurn();
  stage.door.beginTurn();
  const ran = knock(stage.door, "echo 101");
  await stage.decide(await stage.asked(), "deny");
  await ran;
});

test("requests whose stdin stays open wait for nobody, are counted and recorded, and keep no other session out", async () => {
  const keeps = async (door: Door, command: string) => {
    const socket = request(door, command);
    // Leave to send stdin.
    await once(socket, "data");
    return socket;
  };
  const open = [await keeps(stage.door, "echo 0"), await keeps(stage.door, "echo 1")];
  expect(stage.door.waiting()).toBe(false);
  const third = knock(stage.door, "echo third");
  for (const command of ["echo in between", "echo and again"]) {
    const other = await stage.broker.open({ id: newKey(), mode: () => "supervised", record: async () => {} });
    other.beginTurn();
    const ran = knock(other, command);
    await stage.decide(await stage.asked(), "deny");
    await ran;
  }
  expect(pending()).toEqual([]);
  const ends = open.map((socket) => once(socket, "close"));
  clock.advance(10_000);
  await Promise.all(ends);
  const next = await stage.asked();
  expect(next.command).toBe("echo third");
  expect(stage.door.waiting()).toBe(true);
  await stage.decide(next, "deny");
  expect(await third).toContain("denied this");
  expect(stage.events.slice(0, 2)).toMatchObject(
    ["echo 0", "echo 1"].map((command) => ({ kind: "exec", command, end: { kind: "refused" } })),
  );
  for (let n = 3; n < 100; n++) {
    const socket = await keeps(stage.door, `echo ${n}`);
    const ended = once(socket, "close");
    clock.advance(10_000);
    await ended;
  }
  expect(await knock(stage.door, "echo 100")).toContain("as often as it may");
});

test("a command too long to be read is not asked about, and half a character is no request", async () => {
  expect(await knock(stage.door, `echo ${"x".repeat(64 * 1024)}`)).toContain("longer than 65536 bytes");
  expect(await knock(stage.door, "echo \uD800")).toBe("");
  expect(await knock(stage.door, "echo \0")).toBe("");
  expect(stage.events).toMatchObject([{ phase: "settled", end: { kind: "refused" } }]);
});
