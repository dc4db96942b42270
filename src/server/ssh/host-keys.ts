import { nameOf, type SshHost } from "./config.ts";
import { fingerprintOf, scanHostKeys } from "./host-key.ts";
import type { KnownHosts } from "./known-hosts.ts";

/** SHA256 fingerprints. `known`: null when the machine was never seen. */
export interface RefusedHostKey {
  readonly known: string | null;
  readonly shown: string;
}

/** The host keys that were refused, and how an Operator accepts one. */
export interface HostKeys {
  /** null: none was refused at the last attempt to connect. */
  refused(alias: string): RefusedHostKey | null;
  /** Looks again what the machine shows, and takes over the key with exactly this fingerprint. Works at once. */
  accept(alias: string, fingerprint: string): Promise<AcceptedHostKey>;
  /** Called when a key was refused, or is so no longer. */
  watch(listener: () => void): void;
}

export type AcceptedHostKey =
  /** `known`: what was known before. `durable`: false when the disk has not confirmed it: it holds until a restart. */
  | { readonly kind: "accepted"; readonly known: string | null; readonly durable: boolean }
  /** No key of that machine was refused. */
  | { readonly kind: "nothing" }
  /** What it shows now is another key than the one that was confirmed. Nothing was changed. */
  | ({ readonly kind: "another" } & RefusedHostKey)
  /** It showed no key at all. Nothing was changed. */
  | { readonly kind: "silent" };

/** By machine, not by account: they share the line in known_hosts. */
export function createHostKeys(deps: {
  readonly hosts: readonly SshHost[];
  readonly knownHosts: KnownHosts;
  /** Where ssh-keyscan is looked for. */
  readonly path: string;
  /** What is connected to this machine was connected to the one with the old key. */
  readonly retire: (name: string) => void;
}): HostKeys & { saw(host: SshHost, refused: RefusedHostKey | null): void } {
  const { hosts, knownHosts, path, retire } = deps;
  const refusals = new Map<string, RefusedHostKey>();
  const listeners = new Set<() => void>();

  function note(name: string, refused: RefusedHostKey | null): void {
    const before = refusals.get(name);
    if (refused === null) refusals.delete(name);
    else refusals.set(name, refused);
    if (before?.known === refused?.known && before?.shown === refused?.shown) return;
    for (const listener of listeners) listener();
  }

  function hostOf(alias: string): SshHost | undefined {
    return hosts.find((host) => host.alias === alias && host.pinnedHostKey === undefined);
  }

  async function accept(alias: string, fingerprint: string): Promise<AcceptedHostKey> {
    const host = hostOf(alias);
    if (host === undefined) return { kind: "nothing" };
    const name = nameOf(host);
    const refused = refusals.get(name);
    if (refused === undefined) {
      // A second tap, or one whose answer was lost.
      const holds = knownHosts.fingerprints(name).includes(fingerprint);
      return holds
        ? { kind: "accepted", known: fingerprint, durable: await knownHosts.sync() }
        : { kind: "nothing" };
    }
    const shown = await scanHostKeys({ host: host.hostName, port: host.port, path });
    if (shown.length === 0) return { kind: "silent" };
    const key = shown.find((key) => fingerprintOf(key) === fingerprint);
    if (key === undefined) {
      const now = { known: refused.known, shown: fingerprintOf(shown[0]!) };
      note(name, now);
      return { kind: "another", ...now };
    }
    knownHosts.replace(name, key);
    retire(name);
    note(name, null);
    return { kind: "accepted", known: refused.known, durable: await knownHosts.sync() };
  }

  return {
    saw: (host, refused) => note(nameOf(host), refused),
    refused(alias) {
      const host = hostOf(alias);
      return (host && refusals.get(nameOf(host))) ?? null;
    },
    accept,
    watch: (listener) => void listeners.add(listener),
  };
}
