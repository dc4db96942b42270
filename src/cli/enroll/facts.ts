import { privileges, type Identity } from "../../server/ssh/identity.ts";

/** One account that the console logs in to. */
export interface Account {
  readonly role: "hypervisor" | "repairs" | "observes";
  readonly alias: string;
  readonly user: string;
  readonly host: string;
  readonly port: number;
}

/** What an account must not be able to do. */
export type Refusable = "shell" | "pty" | "forwarding" | "remote forwarding" | "sftp" | "scp";

/** What was seen by asking one account one thing; no opinion yet (`holds`), and no words (`tell`). */
export type Fact =
  | { readonly check: "key"; readonly problem: string | null }
  | { readonly check: "login"; readonly account: Account; readonly problem: string | null }
  | {
      readonly check: "hello";
      readonly account: Account;
      /** null: what came back was no hello. */
      readonly told: { readonly backend: string; readonly vmids: readonly number[] } | null;
      /** null: whichever it is, but exactly one. */
      readonly expected: readonly number[] | null;
      readonly said: string;
    }
  | {
      readonly check: "refuses";
      readonly account: Account;
      readonly what: Refusable;
      readonly seen: "refused" | "granted" | "unclear";
      readonly said: string;
    }
  | {
      readonly check: "environment";
      readonly account: Account;
      readonly seen: "ignored" | "obeyed" | "unclear";
      readonly said: string;
    }
  | {
      readonly check: "status";
      readonly account: Account;
      readonly code: number | null;
      readonly firstLine: string;
      readonly said: string;
    }
  | {
      readonly check: "identity";
      readonly account: Account;
      /** null: it could not be asked. */
      readonly identity: Identity | null;
      readonly said: string;
    };

/** By which logs are read. */
const observerGroups: readonly string[] = ["adm", "systemd-journal"];
export function holds(fact: Fact): boolean {
  switch (fact.check) {
    case "key":
    case "login":
      return fact.problem === null;
    case "hello":
      return fact.told?.backend === "pve" && pinsAsExpected(fact.told.vmids, fact.expected);
    case "refuses":
      return fact.seen === "refused";
    case "environment":
      return fact.seen === "ignored";
    case "status":
      return fact.code === 0 && fact.firstLine.startsWith("status: ");
    case "identity":
      return fact.identity !== null && identityProblems(fact.account, fact.identity).length === 0;
  }
}

/** Why the account is not what it is meant to be; each in a few words. */
export function identityProblems({ role }: Account, identity: Identity): readonly string[] {
  const { uid, groups, sudo } = identity;
  if (role !== "observes") return uid === 0 || sudo ? [] : ["has no sudo without a password"];
  const missing = observerGroups.filter((group) => !groups.includes(group));
  return [...privileges(identity), ...missing.map((group) => `is not in group ${group}`)];
}

function pinsAsExpected(vmids: readonly number[], expected: readonly number[] | null): boolean {
  if (expected === null) return vmids.length === 1;
  return vmids.length === expected.length && expected.every((vmid) => vmids.includes(vmid));
}
