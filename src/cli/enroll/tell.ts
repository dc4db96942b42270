import { holds, identityProblems, type Account, type Fact } from "./facts.ts";

/** A fact in one line; where it does not hold, with the mend. */
export function tell(fact: Fact): string {
  return holds(fact) ? `  ok    ${said(fact)}` : `  FAIL  ${said(fact)}\n        ${mend(fact)}`;
}

/** What was seen, without a judgement. */
export function said(fact: Fact): string {
  if (fact.check === "key") return fact.problem === null ? "the key is loaded" : "the key is of no use";
  const who = `${fact.account.alias} (${fact.account.user}):`;
  switch (fact.check) {
    case "login":
      return `${who} ${fact.problem === null ? "the key is let in" : "nobody was let in"}`;
    case "hello":
      if (fact.told === null) return `${who} no v2 hello came back (${fact.said})`;
      return `${who} v2 hello, backend ${fact.told.backend}, VM ids ${fact.told.vmids.join(", ") || "none"}`;
    case "refuses":
      return fact.seen === "unclear"
        ? `${who} whether ${names[fact.what]} is refused is not clear (${fact.said})`
        : `${who} ${names[fact.what]} is ${fact.seen === "granted" ? "GRANTED" : "refused"}`;
    case "environment":
      if (fact.seen === "ignored") return `${who} environment that is sent along changes nothing`;
      return `${who} environment that is sent along ${fact.seen === "obeyed" ? "CHANGES what is done" : "may change what is done"} (${fact.said})`;
    case "status":
      return holds(fact)
        ? `${who} ${fact.firstLine}`
        : `${who} status does not answer as it should (exit code ${fact.code ?? "unknown"}: ${fact.said})`;
    case "identity":
      return `${who} ${identity(fact)}`;
  }
}

const names = {
  shell: "a shell",
  pty: "a terminal",
  forwarding: "forwarding (-L, -W)",
  "remote forwarding": "forwarding (-R)",
  sftp: "sftp",
  scp: "scp",
};

function identity({ account, identity, said }: Extract<Fact, { check: "identity" }>): string {
  if (identity === null) return `it could not be asked who it is (${said})`;
  const problems = identityProblems(account, identity);
  if (problems.length > 0) return problems.join(", ");
  if (account.role === "observes") return `owns nothing, groups ${identity.groups.join(" ")}`;
  return identity.uid === 0 ? "is root" : "has sudo without a password";
}

/** The next step. */
export function mend(fact: Fact): string {
  switch (fact.check) {
    case "key":
    case "login":
      return fact.problem ?? "";
    case "hello":
      if (fact.told === null)
        return "The key must have the forced command breakglass-host: run host/install there. Anything that the account's shell prints at its start has to go.";
      return fact.expected === null
        ? "Pin exactly one VM id, or say which (--vm), and give each machine its vmid in the configuration."
        : `Expected is ${fact.expected.join(", ")}: run host/install there with ${fact.expected.map((id) => `--vm ${id}`).join(" ")}, or correct vmid in the configuration.`;
    case "refuses":
      return refusalMend(fact.account, fact.seen);
    case "environment":
      return "sshd there accepts too much (AcceptEnv), or the key's command is not ours: allow LANG and LC_* at most, and run host/install.";
    case "status":
      return "See docs/runbook.md, exit codes. With one VM pinned the configuration gives no vmid, with several it does; the account's start-up files must print nothing.";
    case "identity":
      return identityMend(fact.account);
  }
}

function refusalMend({ role }: Account, seen: string): string {
  if (seen === "unclear") return "Run this again; if it stays so, see what sshd there logs.";
  return role === "hypervisor"
    ? 'The line in authorized_keys must begin with restrict,command="…": run host/install there, and remove every other line of this key.'
    : "The line in authorized_keys must begin with restrict: run guest-accounts there, and remove every other line of this key.";
}

function identityMend({ role, user }: Account): string {
  return role === "observes"
    ? `Run guest-accounts there with --observe ${user}; take it out of other groups (gpasswd -d ${user} GROUP) and of sudoers.`
    : `Run guest-accounts there with --admin ${user}, or configure root.`;
}
