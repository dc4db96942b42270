import { closedFolders } from "./contents.ts";
import type { FileNode } from "./disk.ts";
import type { Account } from "./guest.ts";

/** A path as seen from the account's home, without `.` and `..`. */
export function resolvePath(account: Account, name: string): string {
  const parts: string[] = [];
  for (const part of (name.startsWith("/") ? name : `${account.home}/${name}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** The unprivileged account is in the groups adm and systemd-journal. */
export function mayRead(account: Account, path: string, file: FileNode): boolean {
  if (account.uid === 0) return true;
  if (!mayEnter(account, path)) return false;
  if (file.mode[7] === "r" || file.owner === account.name) return true;
  return file.mode[4] === "r" && ["adm", "systemd-journal"].includes(file.group);
}

export function mayEnter(account: Account, path: string): boolean {
  return (
    account.uid === 0 || !closedFolders.some((closed) => path === closed || path.startsWith(`${closed}/`))
  );
}
