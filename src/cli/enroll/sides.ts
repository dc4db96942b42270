import type { TargetConfig } from "../../server/config/config.ts";
import { guestAlias, observeAlias, powerAlias } from "../../server/sides.ts";
import type { Account } from "./facts.ts";
import type { Side } from "./verify.ts";

/** What is to be looked at of one Target; `vmids` is what its hypervisor's key shall pin (null: one, whichever). */
export function sidesOf(
  { name, guest, power }: TargetConfig,
  vmids: readonly number[] | null,
): readonly Side[] {
  const account = (
    role: Account["role"],
    alias: string,
    user: string,
    at: { host: string; port: number },
  ): Account => ({
    role,
    alias,
    user,
    host: at.host,
    port: at.port,
  });
  return [
    ...(power
      ? [
          {
            account: account("hypervisor", powerAlias(name), power.user, power),
            ...(power.vmid !== undefined && { vmid: power.vmid }),
            expected: vmids,
          },
        ]
      : []),
    ...(guest ? [{ account: account("repairs", guestAlias(name), guest.user, guest) }] : []),
    ...(guest?.observeUser !== undefined
      ? [{ account: account("observes", observeAlias(name), guest.observeUser, guest) }]
      : []),
  ];
}
