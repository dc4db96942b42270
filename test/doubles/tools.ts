import { existsSync } from "node:fs";

const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];

/**
 * For `describe.skipIf`: true when one of these programs is missing here. With CI=true nothing is ever skipped for that: the
 * test runs, and fails by itself.
 */
export function lacks(...programs: readonly string[]): boolean {
  if (process.env["CI"] === "true") return false;
  return !programs.every((program) =>
    folders.some((folder) => folder !== "" && existsSync(`${folder}/${program}`)),
  );
}
