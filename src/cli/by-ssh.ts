import type { Operation } from "../protocol/api.ts";
import { systemClock } from "../server/clock.ts";
import type { Config } from "../server/config/config.ts";
import { spoolFolders, spoolStore, writableSpool } from "../server/power/spool.ts";
import { accountName } from "../server/sides.ts";
import { keptFolder } from "../server/ssh/runtime-folder.ts";
import { absentStore } from "../server/store/absent.ts";
import type { Store } from "../server/store/store.ts";
import { Refused, type Asking } from "./by-server.ts";
import { openLine } from "./line.ts";

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
  const folders = spoolFolders(config.dataDir, keptFolder(config.dataDir));
  const spool = await openSpool(folders, verb === "status" ? () => {} : say);
  const { power, close } = await openLine(config, path, spool, say);
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
    await close();
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
