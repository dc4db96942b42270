import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Verb } from "../../src/protocol/verbs.ts";
import { systemClock } from "../../src/server/clock.ts";
import { sshHypervisor } from "../../src/server/power/ssh-hypervisor.ts";
import { openSsh, type Ssh } from "../../src/server/ssh/ssh.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { stage } from "./stage.ts";

let dir: string;
let sshd: Sshd;
let ssh: Ssh;

/** A forced command that notes what it was asked for, and keeps one job as the host's side would, over lines that break. */
const gate = (folder: string) => `#!/bin/bash
echo "$SSH_ORIGINAL_COMMAND" >> ${folder}/asked
read -r v2 verb job more <<<"$SSH_ORIGINAL_COMMAND"
step() { echo "$2"; echo "BG1 {\\"seq\\":$1,\\"phase\\":\\"$2\\"}"; }
end() { echo "BG1 {\\"seq\\":$1,\\"result\\":\\"$3\\",\\"code\\":$2,\\"state_after\\":\\"running\\",\\"changed\\":true$4}"; exit $2; }
case "$SSH_ORIGINAL_COMMAND" in
  status) echo "status: running" ;;
  "status 102") echo "status: stopped" ;;
  "v2 forensics "*) [ "$(grep -c forensics ${folder}/asked)" = 1 ] && kill -9 $PPID; echo evidence; end 0 0 done ;;
  "v2 start "*) echo "no quorum" >&2; end 0 4 impossible ;;
  "v2 cycle "*) step 0 stopping; touch ${folder}/begun; kill -9 $PPID; sleep 1 ;;
  "v2 stop "*) [ "$(grep -c "^v2 stop" ${folder}/asked)" = 2 ] || { kill -9 $PPID; sleep 1; }; end 0 0 done ;;
  "v2 attach "*)
    [ -e ${folder}/begun ] || end 0 9 absent ',"journal_seconds":1000'
    [ "$more" -gt 0 ] || step 0 stopping
    step 1 starting; end 2 0 done ;;
  "v2 reset "*) exec sleep 60 ;;
esac
`;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bg-power-"));
  const key = makeKey(dir, "key");
  writeFileSync(join(dir, "gate"), gate(dir));
  chmodSync(join(dir, "gate"), 0o755);
  sshd = await startSshd({ authorizedKeys: [`restrict,command="${dir}/gate" ${key.publicKey}`], dir });
  ssh = await openSsh({
    hosts: [
      {
        alias: "devvm-power",
        hostName: "127.0.0.1",
        port: sshd.port,
        user: sshd.user,
        side: "hypervisor",
        pinnedHostKey: sshd.hostPublicKey,
      },
    ],
    keyPath: key.path,
    knownHostsDir: dir,
  });
});

afterEach(async () => {
  await ssh.close();
  await sshd.stop();
  rmSync(dir, { recursive: true });
});

const hypervisor = (vmid?: number) =>
  sshHypervisor({
    ssh,
    clock: systemClock,
    alias: "devvm-power",
    resendMs: 60_000,
    ...(vmid !== undefined && { vmid }),
  });
async function run(verb: Verb, vmid?: number) {
  let said = "";
  const job = randomUUID();
  const report = await hypervisor(vmid).run(verb, job, {
    output: (text) => (said += text),
    evidence: () => {},
  });
  return { ...report, said, job };
}
const asking = (words: string, job: string) => `${words} ${job}${words.endsWith("attach") ? " 0" : ""}`;
const asked = () =>
  existsSync(join(dir, "asked")) ? readFileSync(join(dir, "asked"), "utf8").trim().split("\n") : [];

test("the words go to the forced command, and its output and code come back", async () => {
  const start = await run("start");
  expect(start).toMatchObject({ exit_code: 4, stderr: "no quorum\n" });
  expect(await run("status", 102)).toMatchObject({ exit_code: 0, stdout: "status: stopped\n" });
  expect(asked()).toEqual([`v2 start ${start.job}`, "status 102"]);
});

test("a cycle whose line breaks in the middle is followed to its end, and sent once", async () => {
  const cycle = await run("cycle");
  expect(cycle).toMatchObject({ exit_code: 0, stdout: expect.stringContaining('"result":"done"') });
  // Whether its first words were through when the line broke is the network's affair.
  expect(cycle.said).toMatch(/^\[The line .*\]$/m);
  expect(cycle.said.replace(/\[The line .*\]\n/, "")).toBe("stopping\nstarting\n");
  expect(asked()).toEqual([`v2 cycle ${cycle.job}`, `v2 attach ${cycle.job} 0`]);
});

test("a Verb that never arrived is sent once more", async () => {
  const stop = await run("stop");
  expect(stop).toMatchObject({ exit_code: 0 });
  expect(asked()).toEqual(["v2 stop", "v2 attach", "v2 stop"].map((words) => asking(words, stop.job)));
});

test("a line that says nothing is not trusted: the same Job is asked for over a fresh one", async () => {
  writeFileSync(join(dir, "begun"), "");
  const reset = await run("reset");
  expect(reset).toMatchObject({ exit_code: 0 });
  expect(asked()).toEqual([`v2 reset ${reset.job}`, `v2 attach ${reset.job} 0`]);
});

test("a reading Verb whose line broke is asked once more", async () => {
  const forensics = await run("forensics");
  expect(forensics).toMatchObject({ exit_code: 0, said: "evidence\n" });
  expect(asked()).toEqual([`v2 forensics ${forensics.job}`, `v2 forensics ${forensics.job}`]);
});

test("a hundred status calls at once are one call to the hypervisor", async () => {
  const { power } = stage({ targets: new Map([["devvm", hypervisor()]]) });
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => power.runAndWait("devvm", "status", "ana")),
  );
  expect(answers.every(({ exit_code, stdout }) => exit_code === 0 && stdout === "status: running\n")).toBe(
    true,
  );
  expect(asked()).toEqual(["status"]);
});

test("while the store hangs a cycle goes through real ssh all the same", async () => {
  const { power, store } = stage({
    targets: new Map([["devvm", hypervisor()]]),
  });
  store.fault = "hang";
  const answer = await power.runAndWait("devvm", "cycle", "ana");
  expect(answer).toMatchObject({ exit_code: 0, stderr: expect.stringContaining("durable: false") });
  store.fault = "none";
});

test("a hypervisor that was not reached did nothing, and that is said", async () => {
  await sshd.stop();
  const { power } = stage({ targets: new Map([["devvm", hypervisor()]]) });
  const answer = await power.runAndWait("devvm", "cycle", "ana");
  expect(answer).toMatchObject({
    exit_code: null,
    rejected: true,
    stderr: expect.stringContaining("Nothing was sent"),
  });
  expect(power.last("devvm")?.outcome?.kind).toBe("refused");
});
