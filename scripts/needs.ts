import { existsSync, globSync } from "node:fs";

/** Which tests need which programs of the system. */
const needs: Readonly<Record<string, readonly string[]>> = {
  "test/{ssh,power,broker,host,faults,ways,install,enroll}/*.test.ts": ["sshd", "ssh", "perl", "flock"],
  "test/house/host.test.ts": ["shellcheck", "perl"],
  "test/agent/*.test.ts": ["bwrap"],
  "test/demo/*.test.ts": ["ssh", "perl", "flock"],
  "test/web/*.test.ts": ["chromium"],
  "test/ways/look.test.ts": ["chromium"],
  "test/e2e/*.test.ts": ["chromium", "ssh", "bwrap"],
};

export interface Skipped {
  readonly file: string;
  readonly missing: readonly string[];
}

/** Test files that cannot run here, with what is missing. With CI=true none: there they run, and fail by themselves. */
export function skippedFiles(env: Readonly<Record<string, string | undefined>>): readonly Skipped[] {
  if (env["CI"] === "true") return [];
  const folders = [...(env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"].filter((folder) => folder !== "");
  const isThere = (program: string) => folders.some((folder) => existsSync(`${folder}/${program}`));
  return Object.entries(needs).flatMap(([pattern, programs]) => {
    const missing = programs.filter((program) => !isThere(program));
    return missing.length === 0 ? [] : globSync(pattern).map((file) => ({ file, missing }));
  });
}
