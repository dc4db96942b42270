import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Operation } from "../protocol/api.ts";
import { systemClock, within } from "../server/clock.ts";
import type { Config } from "../server/config/config.ts";
import { createPower } from "../server/power/power.ts";
import { spoolFolders, spoolStore, writableSpool } from "../server/power/spool.ts";
import { accountName, hypervisors, sshHosts } from "../server/sides.ts";
import { keptFolder } from "../server/ssh/runtime-folder.ts";
import { openSsh } from "../server/ssh/ssh.ts";
import { absentStore } from "../server/store/absent.ts";
import type { Store } from "../server/store/store.ts";
import { Refused, type Asking } from "./by-server.ts";

/** Closing brings known_hosts to disk, which may hang; this process has learned nothing that could be lost. */
const closeMs = 1_000;

/**
 * Does it without a server, straight over SSH; the host's lock decides. What is done is spooled, and the next server start
 * brings it into the record. Throws Refused when nothing was done.
 */
export async function askOverSsh(
  config: Config,
  path: string,
  { target, verb, key }: Asking,
  tell: { readonly show: (output: string) => void; readonly say: (sentence: string) => void },
): Promise<Operation> {
  const { show, say } = tell;
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
    store: await openSpool(spoolFolders(config.dataDir, kept), verb === "status" ? () => {} : say),
    clock: systemClock,
    newId: randomUUID,
    verbTimeoutMs,
    log: say,
  });
  power.watch(({ output }) => output && show(output.text));
  try {
    const answer = await power.submit({ target, verb, key, by: `cli:${accountName()}` });
    if (answer.kind === "accepted") return await answer.settled;
    if (answer.kind === "unknown_target")
      throw new Refused(`No target is configured by the name "${target}". Nothing was sent.`, false);
    if (answer.kind === "no_power")
      throw new Refused(`No hypervisor is configured for ${target}. Nothing was sent.`, false);
    throw new Error(`A new key was answered with ${answer.kind}.`);
  } finally {
    await power.close();
    await within(systemClock, closeMs, ssh.close());
  }
}

async function openSpool(
  folders: ReturnType<typeof spoolFolders>,
  say: (sentence: string) => void,
): Promise<Store> {
  try {
    const folder = await writableSpool(systemClock, folders);
    say(`It is spooled in ${folder}, and recorded by the next start of the server.`);
    return spoolStore(folder);
  } catch (error) {
    const why = (error as Error).message;
    say(`It cannot be recorded: ${why} The verb is sent all the same.`);
    return absentStore(why);
  }
}
