import { readFileSync } from "node:fs";
import type { Exit } from "../process/start.ts";
import type { SshHost } from "./config.ts";
import { fingerprintOf, hostKeyIn } from "./host-key.ts";
import type { NotSent } from "./ssh.ts";

/**
 * Why no connection came about, in words for the Operator, from what OpenSSH 8.5 and later say in the C locale at
 * LogLevel DEBUG1. A hostile server can put lines of its own among them, but not at the beginning of a line of ssh's.
 */
export function refusal({ host, exit, stderr }: { host: SshHost; exit: Exit; stderr: string }): NotSent {
  const where = `${host.user}@${host.hostName} port ${host.port} ("${host.alias}")`;
  const answer = (cause: NotSent["cause"], reason: string): NotSent => ({ kind: "not_sent", cause, reason });
  if (exit.kind === "not_started") return answer("unusable", `${notStarted(exit.error)} Nothing was sent.`);
  // Not at a bare carriage return: ssh passes that on from the other side.
  const lines = stderr.split(/\r?\n/).filter((line) => line.trim() !== "");
  const said = lines.filter((line) => !line.startsWith("debug1: "));
  if (said.includes("Host key verification failed.")) return refusedKey(host, where, lines);
  const last = said.at(-1)?.trim() ?? "";
  if (said.some((line) => line.includes("Permission denied"))) {
    return answer(
      "denied",
      `${where} did not accept the key (${last}). Nothing was sent: \`breakglass enroll\` says which line is missing there (docs/runbook.md).`,
    );
  }
  return answer(
    "unreachable",
    `${where} was not reached (${last === "" ? ended(exit) : last}). Nothing was sent. See whether it is on and its address is right.`,
  );
}

/** Why the OpenSSH client itself did not start: it is missing, or the server has run out of something. */
export function notStarted(error: NodeJS.ErrnoException): string {
  const mends: Readonly<Record<string, string>> = {
    ENOENT: "install openssh-client",
    EMFILE: "the server has reached its limit on open files, raise it (ulimit -n)",
    ENFILE: "the machine has reached its limit on open files, raise it (fs.file-max)",
  };
  const mend = mends[error.code ?? ""] ?? "see to the machine that this server runs on";
  return `The OpenSSH client could not be started (${error.message}): ${mend}.`;
}

/** How to see a machine's own keys, for one who sits at its console. */
const look = "`cat /etc/ssh/*_key.pub | ssh-keygen -lf -` on its console";

function refusedKey({ pinnedHostKey }: SshHost, where: string, lines: readonly string[]): NotSent {
  const answer = (cause: NotSent["cause"], reason: string): NotSent => ({ kind: "not_sent", cause, reason });
  const shown = shownIn(lines);
  if (pinnedHostKey !== undefined)
    return answer(
      "host_key_changed",
      `${where} did not show the host key that is pinned for it in the settings; shown was ${shown ?? "none"}. Nothing was sent: compare the pinned key with the machine's own (${look}).`,
    );
  if (shown === undefined || lines.some((line) => line.includes("marked as revoked")))
    return answer(
      "host_key_changed",
      `The host key of ${where} was refused (${lines.at(-2)?.trim() ?? "ssh did not say why"}). Nothing was sent. It cannot be accepted here: look at the server's known_hosts file and at the machine.`,
    );
  if (!lines.some((line) => line.includes("REMOTE HOST IDENTIFICATION HAS CHANGED")))
    return {
      ...answer(
        "host_key_unknown",
        `The host key of ${where} is not known yet: shown was ${shown}. Nothing was sent. A hypervisor's key is never accepted by itself: compare it with the machine's own (${look}), and accept it on the page, or with \`breakglass enroll\`, if they agree.`,
      ),
      hostKey: { known: null, shown },
    };
  const known = knownIn(lines);
  return {
    ...answer(
      "host_key_changed",
      `The host key of ${where} has CHANGED: known is ${known}, shown was ${shown}. Nothing was sent. Either the machine was rebuilt or somebody stands in between. Compare what was shown with the machine's own key (${look}), and accept it on the page, or with \`breakglass enroll\`, if they agree.`,
    ),
    hostKey: { known, shown },
  };
}

/** A certificate counts as the key in it. */
function shownIn(lines: readonly string[]): string | undefined {
  const of = (line: string) =>
    /^debug1: Server host (?:key|certificate): \S+ (SHA256:[A-Za-z0-9+/]+)/.exec(line)?.[1];
  return lines.map(of).find((fingerprint) => fingerprint !== undefined);
}

/** ssh names the file and the line that the shown key contradicts. */
function knownIn(lines: readonly string[]): string {
  const [, path = "", number] =
    lines.map((line) => /^Offending \S+ key in (.+):(\d+)$/.exec(line)).find((found) => found !== null) ?? [];
  try {
    const key = hostKeyIn(readFileSync(path, "utf8").split("\n")[Number(number) - 1] ?? "");
    return key === null ? "another one" : fingerprintOf(key);
  } catch {
    // The refusal stands without the old fingerprint.
    return "another one";
  }
}

function ended(exit: Exit): string {
  if (exit.kind === "exited") return `ssh ended with ${exit.code} and said nothing`;
  return exit.kind === "signalled" ? "no answer in time" : exit.error.message;
}
