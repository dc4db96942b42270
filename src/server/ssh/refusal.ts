import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Exit } from "../process/start.ts";
import type { SshHost } from "./config.ts";
import type { NotSent } from "./ssh.ts";

/** Why no connection came about, in words for the Operator, from what OpenSSH 8.5 and later say in the C locale. */
export function refusal({ host, exit, stderr }: { host: SshHost; exit: Exit; stderr: string }): NotSent {
  const where = `${host.user}@${host.hostName} port ${host.port} ("${host.alias}")`;
  const answer = (cause: NotSent["cause"], reason: string): NotSent => ({ kind: "not_sent", cause, reason });
  if (exit.kind === "not_started") return answer("unusable", `${notStarted(exit.error)} Nothing was sent.`);
  if (stderr.includes("REMOTE HOST IDENTIFICATION HAS CHANGED"))
    return answer("host_key_changed", changedKey(where, stderr));
  if (stderr.includes("Host key verification failed")) {
    return answer(
      "host_key_changed",
      `${where} did not show the host key that is pinned for it. Nothing was sent: compare the pinned key with the machine's own.`,
    );
  }
  const said = stderr.trim().split("\n").at(-1)?.trim() ?? "";
  if (stderr.includes("Permission denied")) {
    return answer(
      "denied",
      `${where} did not accept the key (${said}). Nothing was sent: put the server's public key into that account's authorized_keys.`,
    );
  }
  return answer(
    "unreachable",
    `${where} was not reached (${said === "" ? ended(exit) : said}). Nothing was sent.`,
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

function changedKey(where: string, stderr: string): string {
  const shown = /SHA256:[A-Za-z0-9+/]+/.exec(stderr)?.[0] ?? "unknown";
  const offending = /Offending \S+ key in (.+):(\d+)/.exec(stderr);
  const known = offending ? fingerprintAt(offending[1]!, Number(offending[2])) : undefined;
  return (
    `The host key of ${where} has CHANGED: known is ${known ?? "another one"}, shown was ${shown}. Nothing was sent. ` +
    "Either the machine was rebuilt or somebody stands in between. Compare what was shown with the machine's own key " +
    "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on its console); if they agree, remove its line from the server's known_hosts file and restart the server."
  );
}

function fingerprintAt(path: string, line: number): string | undefined {
  try {
    const words = readFileSync(path, "utf8").split("\n")[line - 1]?.trim().split(/\s+/) ?? [];
    const blob = words[words.findIndex((word) => /^(ssh-|ecdsa-|sk-)/.test(word)) + 1];
    if (blob === undefined) return undefined;
    return `SHA256:${createHash("sha256").update(Buffer.from(blob, "base64")).digest("base64").replace(/=+$/, "")}`;
  } catch {
    // The refusal stands without the old fingerprint.
    return undefined;
  }
}

function ended(exit: Exit): string {
  if (exit.kind === "exited") return `ssh ended with ${exit.code} and said nothing`;
  return exit.kind === "signalled" ? "no answer in time" : exit.error.message;
}
