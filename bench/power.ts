import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createBroker } from "../src/server/broker/broker.ts";
import { systemClock } from "../src/server/clock.ts";
import { createPower } from "../src/server/power/power.ts";
import { sshHypervisor } from "../src/server/power/ssh-hypervisor.ts";
import { openSsh } from "../src/server/ssh/ssh.ts";
import type { Store } from "../src/server/store/store.ts";
import { makeKey, startSshd } from "../test/doubles/sshd.ts";
import { median } from "./pinned.ts";
import { print } from "./print.ts";

const exec = promisify(execFile);
const rounds = 60;

/** What a Verb costs beyond the host's own work, and what the broker puts on top of ssh, beside bare ssh on the same sshd. */
export async function benchPower(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "bg-bench-"));
  const key = makeKey(dir, "key");
  const gate = join(dir, "gate");
  writeFileSync(gate, "#!/bin/bash\necho 'status: running'\n");
  chmodSync(gate, 0o755);
  const hypervisorSshd = await startSshd({
    authorizedKeys: [`restrict,command="${gate}" ${key.publicKey}`],
    dir,
  });
  const guestDir = mkdtempSync(join(dir, "guest-"));
  const guestSshd = await startSshd({ authorizedKeys: [key.publicKey], dir: guestDir });
  const host = (alias: string, sshd: typeof guestSshd) =>
    ({ alias, hostName: "127.0.0.1", port: sshd.port, user: sshd.user, side: "guest" }) as const;
  const ssh = await openSsh({
    hosts: [host("devvm-power", hypervisorSshd), host("devvm", guestSshd)],
    keyPath: key.path,
    knownHostsDir: dir,
  });
  const power = createPower({
    targets: new Map([
      ["devvm", sshHypervisor({ ssh, clock: systemClock, alias: "devvm-power", resendMs: 60_000 })],
    ]),
    comesBack: new Map(),
    store: nowhere,
    clock: systemClock,
    newId: () => randomUUID(),
    verbTimeoutMs: 60_000,
    log: () => {},
  });
  const account = { alias: "devvm", user: guestSshd.user };
  const broker = createBroker({
    ssh,
    power,
    store: nowhere,
    targets: [{ name: "devvm", privileged: account, unprivileged: account, power: true }],
    standing: async () => ({ kind: "owns_nothing" }),
    clock: systemClock,
    newId: () => randomUUID(),
    newToken: () => randomUUID(),
    log: () => {},
  });
  const door = await broker.open({ id: randomUUID(), mode: () => "supervised", record: async () => {} });
  door.beginTurn();
  const bareOptions = (port: number) => {
    const options = [
      "BatchMode=yes",
      "StrictHostKeyChecking=no",
      `UserKnownHostsFile=${join(dir, "known")}`,
      "LogLevel=ERROR",
    ];
    return ["-F", "none", "-i", key.path, "-p", String(port), ...options.flatMap((option) => ["-o", option])];
  };
  const bareSsh = (port: number, command: string) =>
    exec("ssh", [...bareOptions(port), "127.0.0.1", command]);
  const shimEnv = {
    PATH: `${door.binDir}:${join(process.execPath, "..")}:/usr/bin:/bin`,
    BREAKGLASS_BROKER: door.socketPath,
    BREAKGLASS_TOKEN: door.token,
  };
  try {
    const verb = await inTurns({
      ours: () => power.runAndWait("devvm", "status", "bench"),
      own: () => exec(gate),
      bare: () => bareSsh(hypervisorSshd.port, "status"),
    });
    print("verb over a warm connection, beyond the host's own work", {
      ms: verb.ours - verb.own,
      baseline: "a bare ssh with its handshake, beyond the same",
      baselineMs: verb.bare - verb.own,
      hostMs: verb.own,
      limitMs: 30,
    });
    // A master of their own, as somebody at a terminal would have it.
    const control = join(dir, "m");
    await exec("ssh", [...bareOptions(guestSshd.port), "-M", "-S", control, "-f", "-N", "127.0.0.1"]);
    const shim = await inTurns({
      ours: () => exec("ssh", ["devvm", "true"], { env: shimEnv }),
      master: () => exec("ssh", [...bareOptions(guestSshd.port), "-S", control, "127.0.0.1", "true"]),
      node: () => exec(process.execPath, ["-e", "0"]),
      bare: () => bareSsh(guestSshd.port, "true"),
    });
    await exec("ssh", [...bareOptions(guestSshd.port), "-S", control, "-O", "exit", "127.0.0.1"]);
    print("`ssh devvm true` through shim and broker, beyond a warm OpenSSH master", {
      ms: shim.ours - shim.master,
      baseline: "the same over a warm OpenSSH master",
      baselineMs: shim.master,
      wholeMs: shim.ours,
      nodeStartMs: shim.node,
      bareSshMs: shim.bare,
      limitMs: 60,
    });
  } finally {
    await broker.close();
    await power.close();
    await ssh.close();
    await hypervisorSshd.stop();
    await guestSshd.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Medians in milliseconds; one of each per round, so that the machine's mood is the same for all. */
async function inTurns<K extends string>(
  acts: Readonly<Record<K, () => Promise<unknown>>>,
): Promise<Record<K, number>> {
  const names = Object.keys(acts) as K[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>;
  for (let round = -3; round < rounds; round++) {
    for (const name of names) {
      const begun = performance.now();
      await acts[name]();
      if (round >= 0) times[name].push(performance.now() - begun);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(times[name])])) as Record<K, number>;
}

/** Status is not recorded, and `true` says nothing: nothing is ever asked of it. */
const nowhere: Store = {
  append: () => Promise.reject(new Error("not used")),
  head: async () => -1,
  readFrames: async () => null,
  read: async () => [],
  watch: () => () => {},
  list: async () => [],
  freeBytes: async () => 0,
  close: async () => {},
};
