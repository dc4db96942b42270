import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createAccounts, type Accounts } from "../../src/server/broker/accounts.ts";
import { openSsh, type Ssh } from "../../src/server/ssh/ssh.ts";
import { handClock, type HandClock } from "../doubles/hand-clock.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";
import { scriptedGuest } from "../enroll/stage.ts";

/** A real account behind a real sshd whose `id` and `sudo` answer as the case says; and how often it was asked. */
async function guest(
  says: Parameters<typeof scriptedGuest>[0] | { readonly shell: string },
  config: readonly string[] = [],
): Promise<{
  accounts: Accounts;
  clock: HandClock;
  setBack: (ms: number) => void;
  asked: () => number;
  stop: () => Promise<void>;
}> {
  const dir = mkdtempSync(join(tmpdir(), "bg-accounts-"));
  const key = makeKey(dir, "key");
  const shell = "shell" in says ? says.shell : scriptedGuest(says);
  const sshd = await startSshd({ authorizedKeys: [`command="${shell}" ${key.publicKey}`], dir, config });
  const host = { hostName: "127.0.0.1", port: sshd.port, user: sshd.user, side: "guest" } as const;
  const ssh = await openSsh({
    hosts: [{ ...host, alias: "watcher" }],
    keyPath: key.path,
    knownHostsDir: dir,
  });
  onTestFinished(async () => {
    await ssh.close();
    await sshd.stop();
    rmSync(dir, { recursive: true });
  });
  let asked = 0;
  const counted: Pick<Ssh, "run"> = {
    run: (...question) => {
      asked++;
      return ssh.run(...question);
    },
  };
  const clock = handClock();
  let back = 0;
  const asSet = { ...clock, now: () => new Date(clock.now().getTime() - back) };
  return {
    accounts: createAccounts({ ssh: counted, clock: asSet }),
    clock,
    setBack: (ms) => (back = ms),
    asked: () => asked,
    stop: () => sshd.stop(),
  };
}

const nobody = { uid: 1001, groups: "watcher adm systemd-journal", sudoList: 1, sudoTrue: 1 };

test("an account without root, sudo and rootlike groups owns nothing", async () => {
  const { accounts } = await guest(nobody);
  expect(await accounts.standing("devvm", "watcher")).toEqual({ kind: "owns_nothing" });
  expect(accounts.problems()).toEqual([]);
});

test.each([
  [{ uid: 0 }, "is root"],
  [{ sudoList: 0 }, "may use sudo"],
  ...["docker", "lxd", "incus", "disk", "sudo", "wheel", "libvirt", "staff"].map(
    (group) => [{ groups: `watcher ${group}` }, `is in group ${group}`] as const,
  ),
] as const)("an account that answers %j is privileged, and the page is told", async (more, because) => {
  const { accounts } = await guest({ ...nobody, ...more });
  expect(await accounts.standing("devvm", "watcher")).toEqual({
    kind: "privileged",
    because: `it ${because}`,
  });
  expect(accounts.problems()).toEqual([expect.stringContaining(`devvm`)]);
  expect(accounts.problems()[0]).toContain(because);
});

test("kvm, adm and the journal are no privilege", async () => {
  const { accounts } = await guest({ ...nobody, groups: "watcher kvm adm systemd-journal" });
  expect(await accounts.standing("devvm", "watcher")).toEqual({ kind: "owns_nothing" });
});

test("one answer serves all who ask, for five minutes", async () => {
  const { accounts, clock, asked } = await guest(nobody);
  await Promise.all([accounts.standing("devvm", "watcher"), accounts.standing("devvm", "watcher")]);
  clock.advance(5 * 60_000 - 1);
  await accounts.standing("devvm", "watcher");
  expect(asked()).toBe(1);
  clock.advance(1);
  await accounts.standing("devvm", "watcher");
  expect(asked()).toBe(2);
});

test("what says nothing of itself, and what is not reached, is not known", async () => {
  const mute = await guest({ shell: "/bin/true" });
  expect(await mute.accounts.standing("devvm", "watcher")).toMatchObject({ kind: "unknown" });
  expect(await mute.accounts.standing("devvm", "nobody")).toMatchObject({ kind: "unknown" });
  const gone = await guest(nobody);
  await gone.stop();
  expect(await gone.accounts.standing("devvm", "watcher")).toEqual({
    kind: "unknown",
    because: "it could not be reached.",
  });
  expect(gone.accounts.problems()).toEqual([]);
});

test("what a guest says before it lets nobody in stands in no sentence to an operator", async () => {
  const { accounts, stop } = await guest({ shell: "/bin/true" }, [
    `Banner ${import.meta.filename}`,
    "AllowUsers nobody-at-all",
  ]);
  expect(await accounts.standing("devvm", "watcher")).toEqual({
    kind: "unknown",
    because: "it could not be reached.",
  });
  await stop();
});

test("that there was no answer holds for ten seconds only", async () => {
  const { accounts, clock, asked } = await guest({ shell: "/bin/true" });
  await accounts.standing("devvm", "watcher");
  await accounts.standing("devvm", "watcher");
  expect(asked()).toBe(1);
  clock.advance(10_000);
  await accounts.standing("devvm", "watcher");
  expect(asked()).toBe(2);
});

test("a clock that is set back makes no answer hold longer", async () => {
  const { accounts, clock, asked, setBack } = await guest(nobody);
  clock.advance(60 * 60_000);
  await accounts.standing("devvm", "watcher");
  setBack(60 * 60_000);
  await accounts.standing("devvm", "watcher");
  expect(asked()).toBe(2);
});
