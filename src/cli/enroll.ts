import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { parseArgs } from "node:util";
import type { Config, TargetConfig } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { guestAlias, observeAlias, powerAlias, sshHosts } from "../server/sides.ts";
import { openAccess, type Access } from "./enroll/access.ts";
import { holds, type Account, type Fact } from "./enroll/facts.ts";
import { knowHostKey, type Machine } from "./enroll/host-keys.ts";
import { installThere, isLogin } from "./enroll/install-there.ts";
import { makeKey } from "./enroll/key.ts";
import { accountArgs, guestPaste, hypervisorPaste, installArgs } from "./enroll/needs.ts";
import { tell } from "./enroll/tell.ts";
import { say } from "./enroll/terminal.ts";
import { verify, type Side } from "./enroll/verify.ts";

const usage = `breakglass enroll <target> [options]
  --check                      look only, and change nothing
  --install-guest LOGIN        make the accounts over your own ssh, as LOGIN (root@192.0.2.10)
  --install-hypervisor LOGIN   install the forced command over your own ssh, as LOGIN
  --vm ID                      a VM that the key may touch (repeatable; default: vmid of the configuration)
  --from PATTERN|any           where the console's connections come from: 192.0.2.7, or 10.42.0.0/16 where it moves
  --host-key SHA256:…          pin a host key with this fingerprint without asking (repeatable)
  --yes                        install without asking; host keys are asked for all the same
`;

interface Wishes {
  readonly target: TargetConfig;
  readonly check: boolean;
  readonly guestLogin: string | undefined;
  readonly hypervisorLogin: string | undefined;
  readonly vmids: readonly number[] | null;
  readonly from: string | undefined;
  readonly hostKeys: readonly string[];
  readonly yes: boolean;
}

/** Brings both sides of a Target to where Verbs and the agent can reach them, and proves it. 0 only if all of it holds. */
export async function enroll(env: NodeJS.ProcessEnv, args: readonly string[]): Promise<number> {
  const { config, problems } = await readConfig(env, (path) => readFileSync(path, "utf8"));
  if (config === null || config.keyPath === null) {
    return refuse(problems.map(({ option, value, mend }) => `${option} (${value}): ${mend}`).join("\n"), 1);
  }
  const wishes = readWishes(config, args);
  if (typeof wishes === "string") return refuse(`${wishes}\n\n${usage}`, 2);
  const path = env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
  const { target, check } = wishes;

  if (!check && makeKey(config.keyPath, target.name)) say(`A key was made: ${config.keyPath}`);
  const access = await openAccess({
    hosts: sshHosts([target], {}),
    keyPath: config.keyPath,
    dataDir: config.dataDir,
    path,
  });
  try {
    const key = await access.key();
    if ("problem" in key) return refuse(key.problem, 1);
    say(`The key: ${key.publicKey}`);
    if (!check) {
      if (!(await installAsWished(wishes, bare(key.publicKey), config))) return 1;
      say("Host keys:");
      for (const machine of machinesOf(target))
        await knowHostKey({ machine, dataDir: config.dataDir, path, named: wishes.hostKeys });
    }
    const failed = await look(access, sidesOf(config, wishes));
    if (failed.length === 0) {
      say(`Everything holds: "${target.name}" is enrolled.`);
      return 0;
    }
    if (!check) await sayWhatIsNeeded(wishes, bare(key.publicKey), config, failed);
    say(
      `\nNot enrolled yet: ${failed.length} of the above. Mend it, then run this again; what holds stays as it is.`,
    );
    return 1;
  } finally {
    await access.close();
  }
}

function refuse(text: string, code: number): number {
  process.stderr.write(`${text.trim()}\n`);
  return code;
}

// --- what is wished ---------------------------------------------------------------------------------------------------

/** A sentence when it cannot be done so. */
function readWishes(config: Config, args: readonly string[]): Wishes | string {
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
function configuredVmids({ targets }: Config, { power }: TargetConfig): readonly number[] | null {
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

// --- the steps --------------------------------------------------------------------------------------------------------

/** The options have been told apart already: what stands in them is safe to send. */
async function installAsWished(wishes: Wishes, publicKey: string, config: Config): Promise<boolean> {
  const { target, guestLogin, hypervisorLogin, yes } = wishes;
  const more = yes ? ["--yes"] : [];
  if (hypervisorLogin !== undefined && target.power) {
    say(`On the hypervisor, as ${hypervisorLogin}:`);
    const args = [...installArgs(wishes.from!, wishes.vmids!, target.power), ...more];
    if (!(await installThere({ login: hypervisorLogin, program: "install", publicKey, args })))
      return told("hypervisor");
  }
  if (guestLogin !== undefined && target.guest) {
    say(`On the guest, as ${guestLogin}:`);
    const args = [...accountArgs(wishes.from!, target.guest), ...more];
    if (!(await installThere({ login: guestLogin, program: "guest-accounts", publicKey, args })))
      return told("guest");
  }
  return true;

  function told(side: string): boolean {
    say(
      `The ${side} is not as it should be; see above. Run this again when that is mended (config: ${config.dataDir}).`,
    );
    return false;
  }
}

function machinesOf({ guest, power }: TargetConfig): readonly Machine[] {
  return [
    ...(power ? [{ name: `the hypervisor at ${power.host}`, host: power.host, port: power.port }] : []),
    ...(guest ? [{ name: `the guest at ${guest.host}`, host: guest.host, port: guest.port }] : []),
  ];
}

function sidesOf(config: Config, { target, vmids }: Wishes): readonly Side[] {
  const { name, guest, power } = target;
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

/** Tells each fact as it is seen, and answers those that do not hold. */
async function look(access: Access, sides: readonly Side[]): Promise<readonly Fact[]> {
  say("Seen, from here:");
  const failed: Fact[] = [];
  for await (const fact of verify(access, sides)) {
    say(tell(fact));
    if (!holds(fact)) failed.push(fact);
  }
  return failed;
}

async function sayWhatIsNeeded(
  wishes: Wishes,
  publicKey: string,
  config: Config,
  failed: readonly Fact[],
): Promise<void> {
  const { guest, power } = wishes.target;
  const lacks = (side: "hypervisor" | "guest") =>
    failed.some(
      (fact) => "account" in fact && (fact.account.role === "hypervisor") === (side === "hypervisor"),
    );
  if (power && lacks("hypervisor")) {
    const from = wishes.from ?? (await ownAddressTowards(power));
    const vmids = wishes.vmids ?? [];
    const args =
      vmids.length > 0 ? installArgs(from, vmids, power) : ["--vm", "VMID", ...installArgs(from, [], power)];
    say(
      `\nWhat the hypervisor needs, from a shell that reaches it as root (or: --install-hypervisor ${power.user}@${power.host}):\n`,
    );
    say(hypervisorPaste(publicKey, args, power));
    sayWhereFrom(wishes.from, from);
  }
  if (guest && lacks("guest")) {
    const from = wishes.from ?? (await ownAddressTowards(guest));
    say(`\nWhat the guest needs, in a root shell there (or: --install-guest ${guest.user}@${guest.host}):\n`);
    say(guestPaste(publicKey, accountArgs(from, guest)));
    sayWhereFrom(wishes.from, from);
    if (guest.observeUser === undefined)
      say(
        "\nNo account that owns nothing is configured (BREAKGLASS_OBSERVE_USER): each command of the agent will need an Approval.",
      );
  }
}

function sayWhereFrom(wished: string | undefined, from: string): void {
  if (wished !== undefined) return;
  say(
    `\n--from ${from} is what this machine has now. Where the console moves or stands behind NAT, give what the other side sees, or a range.`,
  );
}

/** "any" when nothing answers there. */
function ownAddressTowards({
  host,
  port,
}: {
  readonly host: string;
  readonly port: number;
}): Promise<string> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host, port, timeout: 3_000 });
    const settle = (address: string | undefined) => {
      socket.destroy();
      resolve(address ?? "any");
    };
    socket.once("connect", () => settle(socket.localAddress));
    socket.once("timeout", () => settle(undefined)).once("error", () => settle(undefined));
  });
}

/** Without its comment: what is left is safe between quotes. */
function bare(publicKey: string): string {
  return publicKey.split(" ").slice(0, 2).join(" ");
}
