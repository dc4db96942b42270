import { parseArgs } from "node:util";
import type { Config, TargetConfig } from "../../server/config/config.ts";
import { isLogin } from "./install-there.ts";

export const usage = `breakglass enroll <target> [options]
  --check                      look only, and change nothing
  --install-guest LOGIN        make the accounts over your own ssh, as LOGIN (root@192.0.2.10)
  --install-hypervisor LOGIN   install the forced command over your own ssh, as LOGIN
  --vm ID                      a VM that the key may touch (repeatable; default: vmid of the configuration)
  --from PATTERN|any           where the console's connections come from: 192.0.2.7, or 10.42.0.0/16 where it moves
  --host-key SHA256:…          pin a host key with this fingerprint without asking (repeatable)
  --yes                        install without asking; host keys are asked for all the same
`;

export interface Wishes {
  readonly target: TargetConfig;
  readonly check: boolean;
  readonly guestLogin: string | undefined;
  readonly hypervisorLogin: string | undefined;
  readonly vmids: readonly number[] | null;
  readonly from: string | undefined;
  readonly hostKeys: readonly string[];
  readonly yes: boolean;
}

/** A sentence when it cannot be done so. */
export function readWishes(config: Config, args: readonly string[]): Wishes | string {
  const options = {
    check: { type: "boolean", default: false },
    yes: { type: "boolean", default: false },
    from: { type: "string" },
    vm: { type: "string", multiple: true },
    "host-key": { type: "string", multiple: true },
    "install-guest": { type: "string" },
    "install-hypervisor": { type: "string" },
  } as const;
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    return (error as Error).message;
  }
  const { values, positionals } = parsed;
  const [name] = positionals;
  const target = config.targets.find((target) => target.name === name);
  if (target === undefined || positionals.length !== 1) {
    const names = config.targets.map(({ name }) => name).join(", ") || "none";
    return `Say which machine to enroll. Configured: ${names}.`;
  }
  const guestLogin = values["install-guest"];
  const hypervisorLogin = values["install-hypervisor"];
  for (const login of [guestLogin, hypervisorLogin]) {
    if (login !== undefined && !isLogin(login))
      return `"${login}" is no login: root@192.0.2.10, ssh://root@192.0.2.10:2222.`;
  }
  if ((guestLogin !== undefined && !target.guest) || (hypervisorLogin !== undefined && !target.power))
    return `"${target.name}" has no such side in the configuration.`;
  if (values.vm?.some((id) => !/^[1-9]\d{2,8}$/.test(id))) return "--vm takes a VM id: 102.";
  const vmids = values.vm?.map(Number) ?? configuredVmids(config, target);
  if (hypervisorLogin !== undefined && vmids === null) return "Say which VM the key may touch: --vm 102.";
  const installs = guestLogin !== undefined || hypervisorLogin !== undefined;
  if (installs && values.from === undefined)
    return "Say where the console's connections come from: --from 192.0.2.7, a range where it moves (--from 10.42.0.0/16), or --from any.";
  if (values.from !== undefined && !/^[A-Za-z0-9.:*?!,/_-]{1,500}$/.test(values.from))
    return "--from takes address patterns: 192.0.2.7, 10.42.0.0/16.";
  return {
    target,
    check: values.check,
    guestLogin,
    hypervisorLogin,
    vmids,
    from: values.from,
    hostKeys: values["host-key"] ?? [],
    yes: values.yes,
  };
}

/** The key of one account on one hypervisor serves all Targets that name it. null: the configuration does not say. */
export function configuredVmids({ targets }: Config, { power }: TargetConfig): readonly number[] | null {
  if (power?.vmid === undefined) return null;
  return targets.flatMap(({ power: other }) =>
    other?.vmid !== undefined &&
    other.host === power.host &&
    other.port === power.port &&
    other.user === power.user
      ? [other.vmid]
      : [],
  );
}
