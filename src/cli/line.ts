import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { systemClock, within } from "../server/clock.ts";
import type { Config } from "../server/config/config.ts";
import { createPower, type Power } from "../server/power/power.ts";
import { hypervisors, sshHosts } from "../server/sides.ts";
import { keptFolder } from "../server/ssh/runtime-folder.ts";
import { openSsh, type Ssh } from "../server/ssh/ssh.ts";
import { absentStore } from "../server/store/absent.ts";
import type { Store } from "../server/store/store.ts";

/** Closing brings known_hosts to disk, which may hang; this process has learned nothing that could be lost. */
const closeMs = 1_000;

/** The way to the machines without a server. */
export interface Line {
  readonly ssh: Ssh;
  readonly power: Power;
  close(): Promise<void>;
}

/** Works while the data directory hangs: what ssh needs of it lies in memory as well. `store` null: nothing is changed. */
export async function openLine(
  config: Config,
  path: string,
  store: Store | null,
  say: (sentence: string) => void,
): Promise<Line> {
  const kept = keptFolder(config.dataDir);
  const ssh = await openSsh({
    hosts: sshHosts(config.targets, {}),
    keyPath: config.keyPath ?? undefined,
    knownHostsDir: config.dataDir,
    knownHostsCopy: kept === null ? undefined : join(kept, "known_hosts"),
    path,
    log: say,
  });
  const verbTimeoutMs = config.verbTimeoutSeconds * 1000;
  const power = createPower({
    targets: hypervisors({ ssh, clock: systemClock, resendMs: verbTimeoutMs }, config.targets),
    // Nobody stays to see whether a Reset was a cure.
    comesBack: new Map(),
    store: store ?? absentStore("nobody records what only looks."),
    clock: systemClock,
    newId: randomUUID,
    verbTimeoutMs,
    log: store === null ? () => {} : say,
  });
  return {
    ssh,
    power,
    async close() {
      await power.close();
      await within(systemClock, closeMs, ssh.close());
    },
  };
}
