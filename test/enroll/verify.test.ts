import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { holds, type Fact, type Refusable } from "../../src/cli/enroll/facts.ts";
import { tell } from "../../src/cli/enroll/tell.ts";
import { breakglassHost } from "../host/host.ts";
import { makeHypervisor, makeStage, scriptedGuest } from "./stage.ts";

// Dozens of real programs each; this ends what hangs.
vi.setConfig({ testTimeout: 300_000 });

/** What does not hold, in a word each. */
const failures = (facts: readonly Fact[]) =>
  facts.filter((fact) => !holds(fact)).map((fact) => (fact.check === "refuses" ? fact.what : fact.check));

test("of a hypervisor whose key has the forced command and nothing else everything holds", async () => {
  const { forced } = await makeHypervisor();
  const stage = await makeStage({ line: forced });
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(failures(facts)).toEqual([]);
  expect(facts.map((fact) => (fact.check === "refuses" ? fact.what : fact.check))).toEqual(
    ["key", "login", "hello", "shell", "pty", "forwarding", "remote forwarding", "sftp", "scp"].concat([
      "environment",
      "status",
    ]),
  );
});

test("a key without a forced command is seen to have a shell, sftp and scp", async () => {
  const stage = await makeStage({
    line: (key) => `restrict ${key}`,
    config: ["Subsystem sftp internal-sftp"],
  });
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(granted(facts)).toEqual(["shell", "sftp", "scp"]);
  expect(failures(facts)).toEqual(expect.arrayContaining(["hello", "status"]));
});

test("a forced command without restrict is seen to give a terminal and both ways of forwarding", async () => {
  const { forced } = await makeHypervisor();
  const stage = await makeStage({ line: (key) => forced(key).replace("restrict,", "") });
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(granted(facts)).toEqual(["pty", "forwarding", "remote forwarding"]);
  expect(failures(facts)).toEqual(["pty", "forwarding", "remote forwarding"]);
});

test("another VM id than the expected one, and one too many, are seen", async () => {
  const { host } = await makeHypervisor();
  const stage = await makeStage({
    line: (key) => `restrict,command="${breakglassHost} --config ${host.config} 102 1021" ${key}`,
  });
  const facts = await stage.facts([
    { account: stage.account("hypervisor"), vmid: 102, expected: [1021, 102] },
  ]);
  expect(failures(facts)).toEqual([]);
  const hello = facts.find(({ check }) => check === "hello") as Extract<Fact, { check: "hello" }>;
  for (const expected of [[102], [102, 103], [102, 1021, 103], null])
    expect(holds({ ...hello, expected })).toBe(false);
  expect(tell({ ...hello, expected: [102] })).toMatch(/VM ids 102, 1021\n.*--vm 102\b/);
});

test("environment that is obeyed on the way to the forced command is seen", async () => {
  const { host } = await makeHypervisor();
  const wrapper = join(host.dir, "wrapper");
  // Without -p bash reads BASH_ENV before it runs this.
  writeFileSync(wrapper, `#!/bin/bash\nexec ${breakglassHost} --config ${host.config} 102\n`, {
    mode: 0o755,
  });
  const stage = await makeStage({
    line: (key) => `restrict,command="${wrapper}" ${key}`,
    config: ["AcceptEnv *"],
  });
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(failures(facts)).toEqual(["environment"]);
});

test("a start-up file that prints before the forced command is seen in the status", async () => {
  const { forced } = await makeHypervisor();
  const stage = await makeStage({ line: forced });
  // sshd's HOME in these tests.
  writeFileSync(join(stage.dir, ".bashrc"), "echo welcome\n");
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(failures(facts)).toEqual(["status"]);
});

test("an account that lets nobody in is asked nothing more, and the mend is told", async () => {
  const stage = await makeStage({ line: () => "" });
  const facts = await stage.facts([{ account: stage.account("hypervisor"), expected: [102] }]);
  expect(facts.map(({ check }) => check)).toEqual(["key", "login"]);
  expect(tell(facts[1]!)).toMatch(/FAIL.*nobody was let in\n.*did not accept the key/);
});

const observer = { uid: 1001, groups: "breakglass adm systemd-journal", sudoList: 1, sudoTrue: 1 };

test("an account that owns nothing and one with sudo are what they claim", async () => {
  const stage = await guestStage(observer);
  expect(failures(await stage.facts([{ account: stage.account("observes") }]))).toEqual([]);
  const other = await guestStage({ ...observer, sudoTrue: 0 });
  expect(failures(await other.facts([{ account: other.account("repairs") }]))).toEqual([]);
});

test.each([
  ["in the docker group", { groups: `${observer.groups} docker` }, "is in group docker"],
  ["in the group lxd", { groups: `lxd ${observer.groups}` }, "is in group lxd"],
  ["in the group disk", { groups: `${observer.groups} disk` }, "is in group disk"],
  ["allowed to use sudo", { sudoList: 0 }, "may use sudo"],
  ["root", { uid: 0 }, "is root"],
  ["not in adm", { groups: "breakglass systemd-journal" }, "is not in group adm"],
])("an observing account that is %s is told", async (_, change, words) => {
  const stage = await guestStage({ ...observer, ...change });
  const facts = await stage.facts([{ account: stage.account("observes") }]);
  expect(failures(facts)).toEqual(["identity"]);
  expect(facts.map(tell).join("\n")).toContain(words);
});

test("a repairing account without sudo is told", async () => {
  const stage = await guestStage(observer);
  expect(failures(await stage.facts([{ account: stage.account("repairs") }]))).toEqual(["identity"]);
});

test("a guest's account that may forward is told", async () => {
  const shell = scriptedGuest(observer);
  const stage = await makeStage({ line: (key) => `command="${shell}" ${key}` });
  expect(failures(await stage.facts([{ account: stage.account("observes") }]))).toEqual([
    "pty",
    "forwarding",
    "remote forwarding",
  ]);
});

function guestStage(says: Parameters<typeof scriptedGuest>[0]) {
  const shell = scriptedGuest(says);
  return makeStage({ line: (key) => `restrict,command="${shell}" ${key}` });
}

function granted(facts: readonly Fact[]): readonly Refusable[] {
  return facts.flatMap((fact) => (fact.check === "refuses" && fact.seen === "granted" ? [fact.what] : []));
}
