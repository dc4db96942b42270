import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import type { Config, TargetConfig } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { programPath } from "../server/process/programs.ts";
import { sshHosts } from "../server/sides.ts";
import { openAccess, type Access } from "./enroll/access.ts";
import { holds, type Fact } from "./enroll/facts.ts";
import { knowHostKey, type Machine } from "./enroll/host-keys.ts";
import { installThere } from "./enroll/install-there.ts";
import { makeKey } from "./enroll/key.ts";
import { accountArgs, guestPaste, hypervisorPaste, installArgs } from "./enroll/needs.ts";
import { tell } from "./enroll/tell.ts";
import { say } from "./enroll/terminal.ts";
import { sidesOf } from "./enroll/sides.ts";
import { verify, type Side } from "./enroll/verify.ts";
import { readWishes, usage, type Wishes } from "./enroll/wishes.ts";

/** Brings both sides of a Target to where Verbs and the agent can reach them, and proves it. 0 only if all of it holds. */
export async function enroll(env: NodeJS.ProcessEnv, args: readonly string[]): Promise<number> {
  const { config, problems } = await readConfig(env, (path) => readFileSync(path, "utf8"));
  const wrong = () =>
    refuse(problems.map(({ option, value, mend }) => `${option} (${value}): ${mend}`).join("\n"), 1);
  if (config === null) return wrong();
  const wishes = readWishes(config, args);
  if (typeof wishes === "string") return refuse(`${wishes}\n\n${usage}`, 2);
  if (config.keyPath === null) return wrong();
  const path = programPath(env);
  try {
    return await takeSteps({ ...config, keyPath: config.keyPath }, wishes, path);
  } catch (error) {
    return refuse(
      `Stopped: ${(error as Error).message}\nWhat was done before stays. Mend it, then run this again.`,
      1,
    );
  }
}

async function takeSteps(
  config: Config & { readonly keyPath: string },
  wishes: Wishes,
  path: string,
): Promise<number> {
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
      if (!(await installAsWished(wishes, bare(key.publicKey)))) return 1;
      say("Host keys:");
      for (const machine of machinesOf(target))
        await knowHostKey({ machine, dataDir: config.dataDir, path, named: wishes.hostKeys });
    }
    const failed = await look(access, sidesOf(target, wishes.vmids));
    if (failed.length === 0) {
      say(`Everything holds: "${target.name}" is enrolled.`);
      return 0;
    }
    if (!check) await sayWhatIsNeeded(wishes, bare(key.publicKey), failed);
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

// --- the steps --------------------------------------------------------------------------------------------------------

/** False when a side is not as it should be; why was told over there. */
async function installAsWished(wishes: Wishes, publicKey: string): Promise<boolean> {
  const { target, guestLogin, hypervisorLogin } = wishes;
  const more = wishes.yes ? ["--yes"] : [];
  if (hypervisorLogin !== undefined && target.power) {
    say(`On the hypervisor, as ${hypervisorLogin}:`);
    const args = [...installArgs(wishes.from!, wishes.vmids!, target.power), ...more];
    if (!(await installThere({ login: hypervisorLogin, program: "install", publicKey, args })))
      return notYet();
  }
  if (guestLogin !== undefined && target.guest) {
    say(`On the guest, as ${guestLogin}:`);
    const args = [...accountArgs(wishes.from!, target.guest), ...more];
    if (!(await installThere({ login: guestLogin, program: "guest-accounts", publicKey, args })))
      return notYet();
  }
  return true;
}

function notYet(): false {
  say("Not installed, for the reason above; what was done before stays. Mend it, then run this again.");
  return false;
}

function machinesOf({ guest, power }: TargetConfig): readonly Machine[] {
  return [
    ...(power ? [{ name: `the hypervisor at ${power.host}`, host: power.host, port: power.port }] : []),
    ...(guest ? [{ name: `the guest at ${guest.host}`, host: guest.host, port: guest.port }] : []),
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

async function sayWhatIsNeeded(wishes: Wishes, publicKey: string, failed: readonly Fact[]): Promise<void> {
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
