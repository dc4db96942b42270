import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { GuestConfig, PowerConfig } from "../../server/config/config.ts";
import { hostFolder } from "./install-there.ts";

/** Options of host/install. */
export function installArgs(
  from: string,
  vmids: readonly number[],
  { user }: PowerConfig,
): readonly string[] {
  return [...vmids.flatMap((id) => ["--vm", String(id)]), "--from", from, "--account", user];
}

/** Options of host/guest-accounts. */
export function accountArgs(from: string, { user, observeUser }: GuestConfig): readonly string[] {
  return ["--from", from, "--admin", user, ...(observeUser === undefined ? [] : ["--observe", observeUser])];
}

/** For a shell of the Operator's that reaches the hypervisor. */
export function hypervisorPaste(
  publicKey: string,
  args: readonly string[],
  { user, host, port }: PowerConfig,
): string {
  const login = port === 22 ? `${user}@${host}` : `-p ${port} ${user}@${host}`;
  const install = `d=$(mktemp -d); tar -xz -C $d; echo "${publicKey}" | bash $d/install --key - ${quoted(args)} --yes; rm -rf $d`;
  return `tar -C ${hostFolder} -cz . | ssh ${login} '${install}'`;
}

/** For a root shell (bash) on the guest. It needs no file of ours there. */
export function guestPaste(publicKey: string, args: readonly string[]): string {
  const text = ["authorized-key.bash", "guest-accounts"].map((name) =>
    readFileSync(join(hostFolder, name), "utf8"),
  );
  const end = "END-OF-BREAKGLASS";
  return `bash <(cat <<'${end}'\n${text.join("")}${end}\n) --key "${publicKey}" ${quoted(args)}`;
}

/** What stands in them has been checked: a shell could only take a pattern's `*` for a file. */
function quoted(args: readonly string[]): string {
  return args.map((arg) => (/[*?!]/.test(arg) ? `"${arg}"` : arg)).join(" ");
}
