import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";

export interface Account {
  readonly name: string;
  readonly uid: number;
  remove(): void;
}

/** Only root may make one. In CI tests run as root: there a missing one is a failure. */
export const canHaveAccounts = process.getuid?.() === 0 || process.env["CI"] === "true";

/** A throw-away account of this machine, which owns nothing and in whose name nothing else runs. */
export function makeAccount(): Account {
  const name = `bg-test-${randomBytes(4).toString("hex")}`;
  execFileSync("/usr/sbin/useradd", ["--system", "--no-create-home", "--shell", "/bin/sh", name]);
  const uid = Number(execFileSync("/usr/bin/id", ["-u", name], { encoding: "utf8" }));
  return {
    name,
    uid,
    remove: () => void execFileSync("/usr/sbin/userdel", ["--force", name], { stdio: "ignore" }),
  };
}
