import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { expect, test } from "vitest";

const scripts = ["host/breakglass-host", "host/install", "host/guest-accounts", "host/authorized-key.bash"];
const modules = globSync("host/lib/**/*.{pl,pm}").toSorted();

test.each(scripts)("shellcheck finds nothing in %s", (script) => {
  const { status, stdout } = spawnSync("shellcheck", ["-x", script], { encoding: "utf8" });
  expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
});

// Every one of them says `use warnings FATAL => 'all'`: what perl only warns of fails here too.
test.each([...modules, "src/server/broker/bin/ssh"])("perl takes %s without a warning", (module) => {
  const { status, stderr } = spawnSync("perl", ["-Ihost/lib", "-wc", module], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: `${module} syntax OK\n` });
});

test("every module of the host's side makes its warnings fatal", () => {
  const { stdout } = spawnSync("grep", ["-L", "use warnings FATAL => 'all';", ...modules], {
    encoding: "utf8",
  });
  expect(stdout).toBe("");
  expect(modules.length).toBeGreaterThan(10);
});
