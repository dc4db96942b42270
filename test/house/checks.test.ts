import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

/** `npm run check`: what the tools say of the whole house, each in its own words when it fails. */
test.each([
  ["the protocol is sound without Node and without a page", "tsc", ["-p", "src/protocol"]],
  ["the server is sound", "tsc", ["-p", "src/server"]],
  ["the page is sound", "svelte-check", ["--tsconfig", "src/web/tsconfig.json", "--fail-on-warnings"]],
  ["tests, benchmarks, demo and scripts are sound", "tsc", ["-p", "."]],
  ["lint finds nothing", "oxlint", ["--type-aware", "--deny-warnings"]],
  ["every file is formatted", "prettier", ["--check", "--log-level=warn", "."]],
  ["there is no dead code", "knip", []],
])("%s", { timeout: 300_000 }, (_, tool, args) => {
  const { status, stdout, stderr } = spawnSync(`node_modules/.bin/${tool}`, args, { encoding: "utf8" });
  expect({ status, said: status === 0 ? "" : `${stdout}${stderr}` }).toEqual({ status: 0, said: "" });
});
