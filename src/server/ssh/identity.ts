/** Who an account is, as it says itself. */
export interface Identity {
  readonly uid: number;
  readonly groups: readonly string[];
  /** sudo lets it do something without a password. */
  readonly sudo: boolean;
}

/**
 * From each of these the way to root is short: they may become root, start containers or machines with the disks of theirs
 * (docker, lxd, incus, libvirt, microk8s), write to the disk or the memory past all files, read the hashes of passwords, or, as
 * Debian's staff, write to /usr/local, which comes first in root's PATH. Not among them: adm and systemd-journal (logs are
 * read by them), kvm (lets nobody near a machine of somebody else's).
 */
const rootlikeGroups: ReadonlySet<string> = new Set([
  "root",
  "sudo",
  "wheel",
  "admin",
  "docker",
  "lxd",
  "incus",
  "incus-admin",
  "libvirt",
  "microk8s",
  "disk",
  "shadow",
  "kmem",
  "staff",
]);

/**
 * For any account's shell. `lists` asks sudo what is allowed, which does not count as an attempt; `uses` tries it, and is
 * reported there as an incident where it is not allowed.
 */
export function identityQuestion(sudo: "lists" | "uses"): string {
  const asked = sudo === "lists" ? "sudo -n -l" : "sudo -n true";
  return `sh -c 'echo "bg-uid $(id -u)"; echo "bg-groups $(id -Gn)"; ${asked} >/dev/null 2>&1; echo "bg-sudo $?"'`;
}

/** null: that was no answer to the question. */
export function identityIn(stdout: string): Identity | null {
  const [, uid] = /^bg-uid (\d+)$/m.exec(stdout) ?? [];
  const [, groups] = /^bg-groups (.+)$/m.exec(stdout) ?? [];
  const [, sudo] = /^bg-sudo (\d+)$/m.exec(stdout) ?? [];
  if (uid === undefined || groups === undefined || sudo === undefined) return null;
  return { uid: Number(uid), groups: groups.split(" "), sudo: sudo === "0" };
}

/** What makes it more than an account that owns nothing, each in a few words. */
export function privileges({ uid, groups, sudo }: Identity): readonly string[] {
  return [
    ...(uid === 0 ? ["is root"] : []),
    ...(sudo ? ["may use sudo"] : []),
    ...groups.filter((group) => rootlikeGroups.has(group)).map((group) => `is in group ${group}`),
  ];
}
