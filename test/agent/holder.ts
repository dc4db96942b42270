import { accountRunner } from "../../src/server/agent/runner/account.ts";
import { openRunner } from "../../src/server/agent/runner/runner.ts";
import type { HolderTask } from "./runner.test.ts";

// A server in the test's stead: it holds one cage until it is killed.
const { kind, account, cage, socketPath, sessionsDir, script, session, doorPath } = JSON.parse(
  process.argv[2] ?? "",
) as HolderTask;
const executable = "/bin/bash";
const runner =
  kind === "account"
    ? accountRunner({ account, sessionsDir, readable: [], executable, cage })
    : openRunner({
        isolation: kind === "runner" ? { kind, socketPath } : { kind },
        sessionsDir,
        readable: [],
      });
const problem = await runner.problem();
if (problem !== null) throw new Error(problem);
const errand = { session, executable, door: { socketPath: doorPath, binDir: "/usr/bin" } };
const held = runner.start({
  ...errand,
  args: ["--norc", "-c", script],
  env: { PATH: runner.places(errand).path },
});
held.running.stdout.pipe(process.stdout);
held.running.stderr.pipe(process.stderr);
