import { userInfo } from "node:os";
import type { BrokerTarget } from "./broker/decide.ts";
import type { Clock } from "./clock.ts";
import type { Config, GuestConfig, TargetConfig } from "./config/config.ts";
import type { SshHost } from "./ssh/config.ts";
import type { AcceptedHostKey } from "./ssh/host-keys.ts";
import type { Ssh } from "./ssh/ssh.ts";
import { readBanner } from "./watch/banner.ts";
import type { GuestSight, PowerSight } from "./watch/judge.ts";
import type { Hypervisor } from "./power/hypervisor.ts";
import type { Power, PowerDeps } from "./power/power.ts";
import { sshHypervisor } from "./power/ssh-hypervisor.ts";
import type { RefusedHostKey, Side } from "../protocol/targets.ts";
import { hostResult } from "../protocol/outcome.ts";

/** Aliases of a Target's accounts in our ssh configuration. */
export const guestAlias = (target: string) => target;
export const observeAlias = (target: string) => `${target}-observe`;
export const powerAlias = (target: string) => `${target}-power`;

/** Pinned host keys by alias: the demo knows its own. */
export type PinnedKeys = Readonly<Record<string, string>>;

export function sshHosts(targets: Config["targets"], pinned: PinnedKeys): readonly SshHost[] {
  return targets.flatMap(({ name, guest, power }) => {
    const at = (
      alias: string,
      side: SshHost["side"],
      { host, port }: { host: string; port: number },
      user: string,
    ) => ({
      alias,
      hostName: host,
      port,
      user,
      side,
      ...(pinned[alias] !== undefined && { pinnedHostKey: pinned[alias] }),
    });
    return [
      ...(guest ? [at(guestAlias(name), "guest", guest, guest.user)] : []),
      ...(guest?.observeUser !== undefined
        ? [at(observeAlias(name), "guest", guest, guest.observeUser)]
        : []),
      ...(power ? [at(powerAlias(name), "hypervisor", power, power.user)] : []),
    ];
  });
}

/** The account by which a side's machine is known to ssh; null where that side is not configured. */
function aliasOf({ name, guest, power }: TargetConfig, side: Side): string | null {
  if (side === "guest") return guest === undefined ? null : guestAlias(name);
  return power === undefined ? null : powerAlias(name);
}

export function refusedHostKeys(
  { hostKeys }: Ssh,
  target: TargetConfig | undefined,
): readonly RefusedHostKey[] {
  return (["guest", "hypervisor"] as const).flatMap((side) => {
    const alias = target && aliasOf(target, side);
    const refused = alias == null ? null : hostKeys.refused(alias);
    return refused === null ? [] : [{ side, ...refused }];
  });
}

/** null: there is no such side. */
export function acceptHostKey(
  { hostKeys }: Ssh,
  target: TargetConfig | undefined,
  side: Side,
  fingerprint: string,
): Promise<AcceptedHostKey> | null {
  const alias = target && aliasOf(target, side);
  return alias == null ? null : hostKeys.accept(alias, fingerprint);
}

/** The power side of each Target; null where it has none. */
export function hypervisors(
  deps: { readonly ssh: Ssh; readonly clock: Clock; readonly resendMs: number },
  targets: Config["targets"],
): ReadonlyMap<string, Hypervisor | null> {
  return new Map(
    targets.map(({ name, power: side }) => {
      const vmid = side?.vmid;
      const how = { ...deps, alias: powerAlias(name), ...(vmid !== undefined && { vmid }) };
      return [name, side ? sshHypervisor(how) : null];
    }),
  );
}

/** The account of this process, for the record. A container may run as a number without a name. */
export function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid-${process.getuid?.() ?? "unknown"}`;
  }
}

/** Without an account of its own that owns nothing, everything on the guest is privileged. */
export function brokerTarget({ name, guest, power }: TargetConfig): BrokerTarget {
  return {
    name,
    privileged: guest ? { user: guest.user, alias: guestAlias(name) } : null,
    unprivileged:
      guest?.observeUser === undefined ? null : { user: guest.observeUser, alias: observeAlias(name) },
    power: power !== undefined,
  };
}

const bannerMs = 4_000;
const roundTripMs = 8_000;

/** Banner, then a true command: what answers the first and not the second is sick. */
export function askGuest(ssh: Ssh, { name, guest }: TargetConfig): (() => Promise<GuestSight>) | null {
  if (guest === undefined) return null;
  const alias = lookAlias(name, guest);
  return async () => {
    const banner = await readBanner(guest.host, guest.port, bannerMs);
    if (banner.kind !== "answers") return banner;
    const { exit } = await ssh.run(alias, ["true"], {
      outputBytesMax: 4_096,
      deadlineMs: roundTripMs,
      repeatable: { firstOutputMs: null },
    });
    if (exit.kind === "exited" && exit.code === 0) return { kind: "answers", seen: "answers commands" };
    const why = exit.kind === "not_sent" ? exit.reason : "no answer to a command in time";
    return { kind: "no_round_trip", seen: `SSH banner, but: ${why}` };
  };
}

/** A guest that has not come back by then was not cured by its reset. */
const comeBackMsMax = 120_000;
const comeBackEveryMs = 2_000;

/** Whether a guest is seen to have booted after `since`: its own uptime says so (proc(5)), over SSH. */
export function guestsComeBack(
  { ssh, clock }: { readonly ssh: Ssh; readonly clock: Clock },
  targets: Config["targets"],
): PowerDeps["comesBack"] {
  const limits = { outputBytesMax: 4_096, deadlineMs: roundTripMs, repeatable: { firstOutputMs: null } };
  const comesBack = (alias: string) => async (since: Date, signal: AbortSignal) => {
    // From here on by a clock that nobody sets.
    const begun = performance.now();
    const before = clock.now().getTime() - since.getTime();
    while (!signal.aborted && performance.now() - begun < comeBackMsMax) {
      const { stdout } = await ssh.run(alias, ["cat", "/proc/uptime"], limits);
      const uptimeMs = Number.parseFloat(stdout) * 1_000;
      if (uptimeMs < before + performance.now() - begun) return true;
      await new Promise<void>((resolve) => clock.after(comeBackEveryMs, resolve));
    }
    return false;
  };
  return new Map(
    targets.flatMap(({ name, guest }) => (guest ? [[name, comesBack(lookAlias(name, guest))]] : [])),
  );
}

/** The account that signs of life are asked of: the one that owns nothing, where there is one. */
function lookAlias(target: string, { observeUser }: GuestConfig): string {
  return observeUser === undefined ? guestAlias(target) : observeAlias(target);
}

export function askPower(
  power: Power,
  { name, power: side }: TargetConfig,
): (() => Promise<PowerSight>) | null {
  if (side === undefined) return null;
  return async () => {
    const report = await power.status(name);
    if ("kind" in report) return { kind: "unreachable", seen: "no hypervisor is configured" };
    const said = report.stdout.split("\n")[0] ?? "";
    if (report.exit_code !== 0) {
      return { kind: "unreachable", seen: report.stderr.trim().split("\n").at(-1) || said || "no answer" };
    }
    const state =
      hostResult(report.stdout)?.state_after ?? /^status: (\S+)/m.exec(report.stdout)?.[1] ?? "unknown";
    const seen = `says ${state}`;
    return { kind: state === "running" || state === "stopped" ? state : "other", seen };
  };
}
