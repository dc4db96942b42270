import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Verb } from "../../src/protocol/verbs.ts";
import { sshHypervisor } from "../../src/server/power/ssh-hypervisor.ts";
import { openSsh, type Ssh } from "../../src/server/ssh/ssh.ts";
import { makeKey, startSshd, type Sshd } from "../doubles/sshd.ts";
import { stage } from "./stage.ts";

let dir: string;
let sshd: Sshd;
let ssh: Ssh;

/** A forced command that notes what it was asked for, and does what the case file for that word says. */
const gate = (folder: string) => `#!/bin/bash
echo "$SSH_ORIGINAL_COMMAND" >> ${folder}/asked
case "$SSH_ORIGINAL_COMMAND" in
  status) echo "status: running" ;;
  "status 102") echo "status: stopped" ;;
  cycle) echo "stopping"; echo "starting" >&2; echo 'BG1 {"result":"done","state_after":"running","changed":true}' ;;
  start) exit 4 ;;
  stop) kill -9 $PPID; sleep 1 ;;
  forensics) [ "$(grep -c forensics ${folder}/asked)" = 1 ] && kill -9 $PPID; echo evidence ;;
  reset) exit 255 ;;
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

async function run(verb: Verb, vmid?: number) {
  const said: string[] = [];
  const hypervisor = sshHypervisor({ ssh, alias: "devvm-power", ...(vmid !== undefined && { vmid }) });
  const report = await hypervisor.run(verb, randomUUID(), (channel, text) =>
    said.push(`${channel}: ${text}`),
  );
  return { ...report, said: said.toSorted().join("") };
}
const asked = () =>
  existsSync(join(dir, "asked")) ? readFileSync(join(dir, "asked"), "utf8").trim().split("\n") : [];

test("the word goes to the forced command, and its output and code come back", async () => {
  expect(await run("cycle")).toMatchObject({
    exit_code: 0,
    stderr: "starting\n",
    said: expect.stringContaining("stdout: stopping"),
  });
  expect(await run("start")).toMatchObject({ exit_code: 4 });
  expect(await run("status", 102)).toMatchObject({ exit_code: 0, stdout: "status: stopped\n" });
  expect(asked()).toEqual(["cycle", "start", "status 102"]);
});

test("255 is no exit code, and a mutating Verb whose line broke is not sent again", async () => {
  for (const verb of ["stop", "reset"] as const) {
    expect(await run(verb)).toMatchObject({ exit_code: null, stderr: expect.stringContaining("not known") });
  }
  expect(asked()).toEqual(["stop", "reset"]);
});

test("a reading Verb whose line broke is asked once more", async () => {
  expect(await run("forensics")).toMatchObject({ exit_code: 0, stdout: "evidence\n" });
  expect(asked()).toEqual(["forensics", "forensics"]);
});

test("a hundred status calls at once are one call to the hypervisor", async () => {
  const { power } = stage({ targets: new Map([["devvm", sshHypervisor({ ssh, alias: "devvm-power" })]]) });
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
    targets: new Map([["devvm", sshHypervisor({ ssh, alias: "devvm-power" })]]),
  });
  store.fault = "hang";
  const answer = await power.runAndWait("devvm", "cycle", "ana");
  expect(answer).toMatchObject({ exit_code: 0, stderr: expect.stringContaining("durable: false") });
  store.fault = "none";
});

test("a hypervisor that was not reached did nothing, and that is said", async () => {
  await sshd.stop();
  const { power } = stage({ targets: new Map([["devvm", sshHypervisor({ ssh, alias: "devvm-power" })]]) });
  const answer = await power.runAndWait("devvm", "cycle", "ana");
  expect(answer).toMatchObject({
    exit_code: null,
    rejected: true,
    stderr: expect.stringContaining("Nothing was sent"),
  });
  expect(power.last("devvm")?.outcome?.kind).toBe("refused");
});
