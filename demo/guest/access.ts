import { closedFolders } from "./contents.ts";
import type { FileNode } from "./disk.ts";
import type { Account, Guest } from "./guest.ts";

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

/** Root everywhere; everybody else in their home and in /tmp, where each file keeps its owner. */
export function mayWrite(guest: Guest, account: Account, path: string): boolean {
  if (account.uid === 0) return true;
  if (!path.startsWith("/tmp/") && !path.startsWith(`${account.home}/`)) return false;
  const owner = guest.disk.stat(path, guest.now())?.owner;
  return owner === undefined || owner === account.name;
}

/** The text of a file that is run by its name; or the shell's complaint. */
export function mayRun(guest: Guest, account: Account, name: string): { readonly script: string } | string {
  const path = resolvePath(account, name);
  const file = guest.disk.stat(path, guest.now());
  if (file === undefined) return guest.disk.isFolder(path) ? "Is a directory" : "No such file or directory";
  if (!file.mode.includes("x") || !mayRead(account, path, file)) return "Permission denied";
  return file.text === undefined ? "cannot execute binary file" : { script: file.text };
}
