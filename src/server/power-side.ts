import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { OperationId } from "../protocol/ids.ts";
import type { Audit } from "./audit/audit.ts";
import { within, type Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { defaultTarget } from "./config/targets.ts";
import type { Demo } from "./demo.ts";
import { createPower, type Power } from "./power/power.ts";
import { mirrorIn, spoolFolders, type Mirror } from "./power/spool.ts";
import { bringInSpooled, spooledIn } from "./power/spooled.ts";
import type { OpenRecord } from "./record.ts";
import {
  guestAlias,
  guestsComeBack,
  hypervisors,
  observeAlias,
  powerAlias,
  sshHosts,
  type PinnedKeys,
} from "./sides.ts";
import { openSsh, type Ssh } from "./ssh/ssh.ts";

/** Bringing in what was spooled has so long; then it goes on while the server works. */
const spooledMs = 1_500;

export interface PowerSide {
  readonly ssh: Ssh;
  readonly power: Power;
  /** Where the record's disk does not answer, what Verbs did is kept there. */
  readonly mirror: Mirror | undefined;
}

/** The way to the machines, and the power over them. What was before this start is taken up as soon as the record is open. */
export async function composePower(deps: {
  readonly config: Config;
  readonly demo: Demo | null;
  readonly clock: Clock;
  readonly record: OpenRecord;
  readonly audit: Audit;
  /** A folder in memory that outlives this process; null: there is none. */
  readonly kept: string | null;
  /** See SshOptions. */
  readonly runtimeName: string | undefined;
  readonly path: string;
  readonly warn: (text: string) => void;
}): Promise<PowerSide> {
  const { config, demo, clock, record, audit, kept, runtimeName, path, warn } = deps;
  const { store } = record;
  const [onDisk = "", inMemory = ""] = spoolFolders(config.dataDir, kept);
  // What lies there now was left by a process that is gone; from here on our own is among it.
  const leftInMemory = kept === null ? new Set<OperationId>() : await spooledIn(inMemory);
  const ssh = await openSsh({
    hosts: sshHosts(config.targets, demo ? demoKeys(demo, defaultTarget(config.targets)) : {}),
    keyPath: config.keyPath ?? undefined,
    knownHostsDir: config.dataDir,
    knownHostsCopy: kept === null ? undefined : join(kept, "known_hosts"),
    runtimeName,
    path,
    log: warn,
  });
  const verbTimeoutMs = config.verbTimeoutSeconds * 1000;
  const mirror = kept === null ? undefined : mirrorIn(kept, warn);
  const power = createPower({
    targets: hypervisors({ ssh, clock, resendMs: verbTimeoutMs }, config.targets),
    comesBack: guestsComeBack({ ssh, clock }, config.targets),
    store,
    clock,
    newId: randomUUID,
    verbTimeoutMs,
    log: warn,
    mirror,
  });
  /** The spool first, so that what is open in it is looked up as well. */
  const takeUp = async () => {
    const spooled = { store, audit, clock, log: warn };
    await within(
      clock,
      spooledMs,
      bringInSpooled(spooled, onDisk).then(() => bringInSpooled(spooled, inMemory, leftInMemory)),
    );
    await power.recover();
  };
  if (record.problem() === null) await takeUp();
  else void record.opened.then(takeUp);
  return { ssh, power, mirror };
}

function demoKeys({ guest, hypervisor }: Demo, target: string): PinnedKeys {
  return {
    [guestAlias(target)]: guest.hostKey,
    [observeAlias(target)]: guest.hostKey,
    [powerAlias(target)]: hypervisor.hostKey,
  };
}
