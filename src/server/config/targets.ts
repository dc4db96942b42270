import type { ConfigFile } from "./file.ts";
import type { GuestConfig, PowerConfig, TargetConfig } from "./config.ts";
import { notSet, shown, stop, warn, type Findings } from "./findings.ts";
import type { OptionName, Read } from "./options.ts";
import { isIP } from "node:net";
import { isAccount, parseEndpoint } from "./values.ts";

/** The Target that the variables describe; presets and agents know it by this name. */
const defaultTargetName = "devvm";

/** Which machine is meant where none is named: the first; while none is configured, the one that the variables would describe. */
export function defaultTarget(targets: readonly TargetConfig[]): string {
  return targets[0]?.name ?? defaultTargetName;
}

/**
 * The accounts when none is named. Verbs need root on the hypervisor (the forced command runs `qm`); on the guest it is the
 * one account that exists everywhere and can repair everything. Least privilege is BREAKGLASS_OBSERVE_USER.
 */
const defaultUser = "root";
const sshPort = 22;

/** The default Target first: the one of the variables, then the file's in their order. */
export function readTargets(read: Read, file: ConfigFile, findings: Findings): readonly TargetConfig[] {
  const targets: TargetConfig[] = [];
  const own = targetOfVariables(read, findings);
  if (own !== undefined) targets.push(own);
  for (const [index, entry] of (file.targets ?? []).entries()) {
    targets.push(targetOfFile(entry, `targets[${index}]`, findings));
  }
  refuseNames(targets, own === undefined ? 0 : 1, findings);
  if (targets.length === 0) {
    warn(
      findings,
      "BREAKGLASS_DEVVM_HOST",
      notSet,
      "No machine is configured, so that none can be rescued. Set it to the machine's address, and " +
        "BREAKGLASS_PVE_HOST to its hypervisor's.",
    );
  }
  return targets;
}

function targetOfVariables(read: Read, findings: Findings): TargetConfig | undefined {
  const accountWithoutHost = (account: OptionName, host: OptionName) => {
    const value = read(account);
    if (value !== undefined && read(host) === undefined)
      stop(findings, account, shown(value), `It belongs to ${host}, which is not set: set both, or neither.`);
  };
  accountWithoutHost("BREAKGLASS_DEVVM_USER", "BREAKGLASS_DEVVM_HOST");
  accountWithoutHost("BREAKGLASS_OBSERVE_USER", "BREAKGLASS_DEVVM_HOST");
  accountWithoutHost("BREAKGLASS_PVE_USER", "BREAKGLASS_PVE_HOST");
  const guestHost = read("BREAKGLASS_DEVVM_HOST");
  const powerHost = read("BREAKGLASS_PVE_HOST");
  if (guestHost === undefined && powerHost === undefined) return undefined;
  return {
    name: defaultTargetName,
    ...(guestHost !== undefined && {
      guest: guestSide(
        {
          host: guestHost,
          user: read("BREAKGLASS_DEVVM_USER"),
          observe_user: read("BREAKGLASS_OBSERVE_USER"),
        },
        {
          host: "BREAKGLASS_DEVVM_HOST",
          user: "BREAKGLASS_DEVVM_USER",
          observeUser: "BREAKGLASS_OBSERVE_USER",
        },
        findings,
      ),
    }),
    ...(powerHost !== undefined && {
      power: powerSide(
        { host: powerHost, user: read("BREAKGLASS_PVE_USER") },
        { host: "BREAKGLASS_PVE_HOST", user: "BREAKGLASS_PVE_USER" },
        findings,
      ),
    }),
  };
}

function targetOfFile(
  entry: NonNullable<ConfigFile["targets"]>[number],
  place: string,
  findings: Findings,
): TargetConfig {
  const { name, guest, power } = entry;
  if (guest === undefined && power === undefined)
    stop(findings, place, shown(name), "It has neither a guest nor a power side: give it one, or remove it.");
  const at = (part: string) => ({
    host: `${place}.${part}.host`,
    user: `${place}.${part}.user`,
    observeUser: `${place}.${part}.observe_user`,
  });
  return {
    name,
    ...(guest !== undefined && { guest: guestSide(guest, at("guest"), findings) }),
    ...(power !== undefined && { power: powerSide(power, at("power"), findings) }),
  };
}

interface SideText {
  readonly host: string;
  readonly user?: string | undefined;
}
interface Places {
  readonly host: string;
  readonly user: string;
}

function guestSide(
  text: SideText & { readonly observe_user?: string | undefined },
  places: Places & { readonly observeUser: string },
  findings: Findings,
): GuestConfig {
  const side = { ...host(text.host, places.host, findings), user: account(text.user, places.user, findings) };
  if (text.observe_user === undefined) return side;
  return { ...side, observeUser: account(text.observe_user, places.observeUser, findings) };
}

function powerSide(
  text: SideText & { readonly vmid?: number | undefined },
  places: Places,
  findings: Findings,
): PowerConfig {
  const side = { ...host(text.host, places.host, findings), user: account(text.user, places.user, findings) };
  return text.vmid === undefined ? side : { ...side, vmid: text.vmid };
}

function host(text: string, option: string, findings: Findings): { host: string; port: number } {
  const endpoint = parseEndpoint(text, sshPort);
  if (endpoint === undefined || endpoint.port === 0) {
    stop(
      findings,
      option,
      shown(text),
      "It must be an address, optionally with a port: 192.0.2.10, 192.0.2.10:22, [2001:db8::1]:22.",
    );
    return { host: "", port: sshPort };
  }
  if (isIP(endpoint.host) === 0 && endpoint.host !== "localhost") {
    warn(
      findings,
      option,
      shown(text),
      "It is a name, so that a rescue depends on DNS. Better an IP address, which needs nothing.",
    );
  }
  return endpoint;
}

function account(text: string | undefined, option: string, findings: Findings): string {
  if (text === undefined) return defaultUser;
  if (!isAccount(text))
    stop(
      findings,
      option,
      shown(text),
      "It must be an account's name: letters, digits, '_', '.', '-', at most 32.",
    );
  return text;
}

/** What the agent calls machines besides their names; `-power` is the hypervisor's side of any Target. */
const takenNames: ReadonlySet<string> = new Set(["pve", "root", "localhost"]);

function refuseNames(targets: readonly TargetConfig[], fromFile: number, findings: Findings): void {
  const seen = new Set<string>(targets.slice(0, fromFile).map(({ name }) => name));
  for (const [index, { name }] of targets.slice(fromFile).entries()) {
    const option = `targets[${index}].name`;
    if (
      !/^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$/.test(name) ||
      name.endsWith("-power") ||
      takenNames.has(name)
    ) {
      const rule = `lower-case letters, digits and '-', at most 32, not ending in "-power", and none of ${[...takenNames].join(", ")}`;
      stop(findings, option, shown(name), `It must be a name of ${rule}.`);
    } else if (seen.has(name)) {
      stop(findings, option, shown(name), "There is a machine of this name already: give each its own.");
    }
    seen.add(name);
  }
}
