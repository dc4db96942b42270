import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, globSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test, vi } from "vitest";
import { startModel } from "../../demo/model/server.ts";
import type { Check } from "../../src/cli/doctor/check.ts";
import { canHaveAccounts, makeAccount } from "../agent/account.ts";
import { startProgram } from "../agent/runners.ts";
import { isolations, say } from "../agent/stage.ts";
import { makeKey, startSshd } from "../doubles/sshd.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { startServer } from "../e2e/server.ts";
import { makeHypervisor, scriptedGuest } from "../enroll/stage.ts";

// Dozens of real programs each; this ends what hangs.
vi.setConfig({ testTimeout: 300_000 });

test("of a deployment that is whole every part is ok, the exit code is 0, and nothing has changed", async () => {
  const { env, dataDir } = await deployment();
  const before = contents(dataDir);
  const { code, checks, of } = await doctor(env);
  expect(checks.filter(({ state }) => state !== "ok")).toEqual([]);
  expect(code).toBe(0);
  expect(contents(dataDir)).toEqual(before);
  expect(of("machines").join("\n")).toMatch(/a shell is refused/);
  expect(of("machines").join("\n")).toMatch(/owns nothing/);
  expect(of("clock")).toEqual([expect.stringMatching(/^that of devvm is as ours/)]);
  expect(of("data")[0]).toMatch(/takes a write, flushes it/);
  if (isolations.includes("bubblewrap")) {
    expect(of("agent")[1]).toMatch(/answers where it is to run: \d+\.\d+/);
    expect(of("agent")[2]).toMatch(/bubblewrap cage reached no file, environment or process/);
  }
  expect(of("model")).toEqual([
    expect.stringMatching(/^127\.0\.0\.1:\d+ answers; the credential was not tried/),
  ]);
});

test("beside a running server it says so, and the server goes on", async () => {
  const { env } = await deployment();
  const server = await startServer({ demo: false, env: { ...env, API_BEARER_TOKEN: "t".repeat(40) } });
  const { code, of } = await doctor(env);
  expect(of("server")).toEqual([expect.stringMatching(/^one runs, and answers at .*control\.sock/)]);
  expect(code).toBe(0);
  expect((await fetch(`${server.origin}/health`)).status).toBe(200);
});

test("each thing that is wrong is a line of its own with its mend, and the exit code is 1", async () => {
  const { env } = await deployment({ hypervisor: "open", clock: "an hour behind" });
  const { code, problems, checks, lines } = await doctor({
    ...env,
    BREAKGLASS_MODE: "Autonomous",
    BREAKGLASS_DATA_DIR: "/proc",
    BREAKGLASS_CLAUDE: "/nowhere/claude",
    ANTHROPIC_BASE_URL: "http://ana:hunter2@127.0.0.1:9",
  });
  expect(code).toBe(1);
  expect(problems("configuration")).toMatch(/BREAKGLASS_MODE .*It must be observe/);
  expect(problems("machines")).toMatch(/no v2 hello|nobody was let in|host key/);
  expect(problems("data")).toMatch(/\/proc cannot be written/);
  expect(problems("agent")).toMatch(/there is no \/nowhere\/claude.*BREAKGLASS_CLAUDE/);
  expect(problems("model")).toMatch(/127\.0\.0\.1:9\) cannot be reached: it refuses connections/);
  expect(JSON.stringify(checks)).not.toContain("hunter2");
  for (const line of await lines())
    expect(line).toMatch(/^(ok|warning|problem) +\w+: \S|^\d+ problems were found/);
});

test("a key that gets a shell on the hypervisor, and a clock that is wrong, are problems", async () => {
  const { env } = await deployment({ hypervisor: "open", clock: "an hour behind" });
  const { problems, code } = await doctor(env);
  expect(problems("machines")).toMatch(/a shell is GRANTED.*restrict,command=/);
  expect(problems("clock")).toMatch(/devvm is 3(59|60)\d\.\d s behind ours.*timedatectl/);
  expect(code).toBe(1);
});

test("an agent that is not confined reaches what a trial plants, and that is said", async () => {
  const { env } = await deployment();
  const { of, checks } = await doctor({ ...env, BREAKGLASS_ISOLATION: "none" });
  expect(of("agent").at(-1)).toMatch(
    /not confined: .*reached what is this account's \(file, environment, signal\)/,
  );
  expect(checks.find(({ part, state }) => part === "agent" && state === "warning")).toBeDefined();
});

test.runIf(canHaveAccounts)(
  "an account of its own is tried, and one that is not there is a problem",
  async () => {
    const account = makeAccount();
    onTestFinished(() => account.remove());
    const { env } = await deployment();
    const { of } = await doctor({ ...env, BREAKGLASS_ISOLATION: `account:${account.name}` });
    expect(of("agent")[1]).toMatch(/answers where it is to run/);
    expect(of("agent")[2]).toMatch(/the account bg-test-\w+ reached no file/);
    const other = await doctor({ ...env, BREAKGLASS_ISOLATION: "account:nobody-of-this-name" });
    expect(other.problems("agent")).toMatch(/no such account.*useradd/);
  },
);

test("a runner that does not answer is a problem; what cannot be tried there is said", async () => {
  const { env } = await deployment();
  const { problems } = await doctor({ ...env, BREAKGLASS_ISOLATION: "runner:/nowhere/runner.sock" });
  expect(problems("agent")).toMatch(
    /runner at \/nowhere\/runner\.sock does not answer.*breakglass runner --socket/,
  );
});

test("a runner that answers is tried, and keeps nothing of it; one that confines nothing is a problem", async () => {
  const { env } = await deployment();
  const folder = scratchFolder();
  const socketPath = join(folder, "runner.sock");
  const sessions = join(folder, "sessions");
  const program = await startProgram(["--socket", socketPath, "--sessions", sessions, "--cage", "none"]);
  onTestFinished(() => void program.kill("SIGTERM"));
  const { of, problems } = await doctor({ ...env, BREAKGLASS_ISOLATION: `runner:${socketPath}` });
  expect(of("agent")[1]).toMatch(/answers where it is to run: \d+\.\d+/);
  expect(problems("agent")).toMatch(/Not confined: the runner at .* has no cage/);
  expect(contents(sessions)).toEqual([]);
});

interface Faults {
  readonly hypervisor?: "forced" | "open";
  readonly clock?: "right" | "an hour behind";
}

/** Both sides of one machine, with the accounts that are meant to be there; the host keys are known. */
async function deployment({ hypervisor = "forced", clock = "right" }: Faults = {}) {
  const dir = scratchFolder();
  const dataDir = join(dir, "data");
  mkdirSync(dataDir, { mode: 0o700 });
  const key = makeKey(dir, "key");
  const { forced } = await makeHypervisor();
  const shell = scriptedGuest({
    uid: 1001,
    groups: "breakglass adm systemd-journal",
    sudoList: 1,
    sudoTrue: 0,
  });
  if (clock !== "right") {
    const date = join(shell, "../date");
    writeFileSync(date, "#!/bin/sh\necho $(( $(/bin/date +%s) - 3600 ))\n");
    chmodSync(date, 0o755);
  }
  const sshdWith = async (line: string) => {
    const sshd = await startSshd({ dir: scratchFolder(), authorizedKeys: [line] });
    onTestFinished(() => sshd.stop());
    return sshd;
  };
  const guest = await sshdWith(`restrict,command="${shell}" ${key.publicKey}`);
  const power = await sshdWith(hypervisor === "forced" ? forced(key.publicKey) : `restrict ${key.publicKey}`);
  const known = [guest, power].map(({ port, hostPublicKey }) => `[127.0.0.1]:${port} ${hostPublicKey}\n`);
  writeFileSync(join(dataDir, "known_hosts"), known.join(""), { mode: 0o600 });
  const model = await startModel({ script: () => say("Yes.") });
  onTestFinished(() => model.close());
  const env = {
    BREAKGLASS_DATA_DIR: dataDir,
    BREAKGLASS_KEY_PATH: key.path,
    BREAKGLASS_DEVVM_HOST: `127.0.0.1:${guest.port}`,
    BREAKGLASS_DEVVM_USER: guest.user,
    BREAKGLASS_OBSERVE_USER: guest.user,
    BREAKGLASS_PVE_HOST: `127.0.0.1:${power.port}`,
    BREAKGLASS_PVE_USER: power.user,
    ANTHROPIC_BASE_URL: model.url,
    ANTHROPIC_API_KEY: "dummy",
  };
  return { env, dataDir };
}

async function doctor(env: Readonly<Record<string, string>>) {
  const run = async (...args: readonly string[]) => {
    const child = spawn(process.execPath, [resolve("src/cli/main.mjs"), "doctor", ...args], {
      env: { PATH: process.env["PATH"], HOME: "/nowhere", ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = await Promise.all([text(child.stdout), once(child, "exit")]);
    return { said, code: child.exitCode };
  };
  const { said: json, code } = await run("--json");
  const { checks } = JSON.parse(json) as { readonly checks: readonly Check[] };
  return {
    code,
    checks,
    /** For a person. */
    lines: async () => (await run()).said.trim().split("\n"),
    of: (part: Check["part"]) => checks.filter((check) => check.part === part).map(({ says }) => says),
    problems: (part: Check["part"]) =>
      checks
        .filter((check) => check.part === part && check.state === "problem")
        .map(({ says, mend }) => `${says} ${mend ?? ""}`)
        .join("\n"),
  };
}

function contents(folder: string): string[] {
  return globSync(`${folder}/**/*`).map((path) => `${path} ${statSync(path).size} ${statSync(path).mtimeMs}`);
}
