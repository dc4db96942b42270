import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { findClaude } from "../../server/agent/claude/executable.ts";
import { missing } from "../../server/agent/installed.ts";
import { asAccount } from "../../server/agent/runner/account.ts";
import { openRunner, type Cage } from "../../server/agent/runner/runner.ts";
import { trialSession } from "../../server/agent/runner/wire.ts";
import { systemClock, within } from "../../server/clock.ts";
import type { Config } from "../../server/config/config.ts";
import { systemPath } from "../../server/process/programs.ts";
import { run } from "../../server/process/run.ts";
import { ok, problem, told, warning, type Check } from "./check.ts";

/** `--version` takes half a second; past this the agent counts as not answering. */
const trialMsMax = 30_000;
const outputBytesMax = 64 * 1024;
const binDir = join(import.meta.dirname, "../../server/broker/bin");
/** The agent's definition, its executable, and a true trial of what confines it. */
export async function* checkAgent(config: Config): AsyncGenerator<Check> {
  // What is wrong with its options the configuration has told.
  yield definition(config.agent.definitionPath);
  const executable = config.agent.claudePath ?? findClaude();
  const { isolation } = config;
  if (isolation.kind === "runner") return yield* checkRunner(config, isolation.socketPath);
  const why = missing(executable);
  if (executable === undefined || why !== null) return yield told("agent", why!);
  yield isolation.kind === "account"
    ? await tryAsAccount(isolation.account, executable)
    : await tryInCage(isolation, executable);
  yield isolation.kind === "account"
    ? await confinedAsAccount(isolation.account)
    : await confinedInCage(isolation);
}

function definition(path: string): Check {
  try {
    return ok("agent", `its definition has ${readFileSync(path, "utf8").length} characters (${path})`);
  } catch (error) {
    return problem(
      "agent",
      `its definition cannot be read (${(error as Error).message})`,
      "Mend BREAKGLASS_AGENT.",
    );
  }
}

type Here = Exclude<Config["isolation"], { kind: "account" } | { kind: "runner" }>;

async function tryInCage(isolation: Here, executable: string): Promise<Check> {
  const ran = await inCage(isolation, executable, ["--version"]);
  return "problem" in ran ? ran.problem : versionIn(ran.said);
}

async function tryAsAccount(account: string, executable: string): Promise<Check> {
  const as = await asAccount(account);
  if (typeof as === "string") return told("agent", as);
  const [file = "", ...args] = as;
  const { stdout, stderr } = await run(
    { file, args: [...args, executable, "--version"], env: { PATH: systemPath, HOME: "/" }, cwd: "/" },
    { outputBytesMax, deadlineMs: trialMsMax },
  );
  return versionIn(stdout === "" ? stderr : stdout);
}

function versionIn(said: string): Check {
  const [first = ""] = said.trim().split("\n");
  if (/^\d+\.\d+/.test(first)) return ok("agent", `its executable answers where it is to run: ${first}`);
  return problem(
    "agent",
    `its executable does not answer --version where it is to run (${first || "it said nothing"})`,
    "Install again, or correct BREAKGLASS_CLAUDE and BREAKGLASS_ISOLATION. The power buttons work without it.",
  );
}

/** A file that only this account may read, and a word in the environment of a process of this account. */
async function withCanary<T>(use: (script: string, folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "bg-doctor-"));
  const canary = join(folder, "canary");
  try {
    // What keeps the agent out must be the canary's own mode, or the cage.
    await chmod(folder, 0o755);
    await writeFile(canary, "sings\n", { mode: 0o600 });
    const script = `grep -qs sings ${canary} && echo "GOT file"; grep -qs . /proc/${process.pid}/environ && echo "GOT environment"; kill -0 ${process.pid} 2>/dev/null && echo "GOT signal"; echo tried`;
    return await use(script, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function confinedInCage(isolation: Here): Promise<Check> {
  const ran = await withCanary((script) => inCage(isolation, "/bin/bash", ["--norc", "-c", script]));
  if ("problem" in ran) return ran.problem;
  const way = isolation.kind === "none" ? "BREAKGLASS_ISOLATION=none" : "its bubblewrap cage";
  return judged(ran.said, way, isolation.kind === "none");
}

async function confinedAsAccount(account: string): Promise<Check> {
  const as = await asAccount(account);
  if (typeof as === "string") return told("agent", as);
  const [file = "", ...args] = as;
  const { stdout } = await withCanary((script) =>
    run(
      {
        file,
        args: [...args, "/bin/bash", "--norc", "-c", script],
        env: { PATH: systemPath },
        cwd: "/",
      },
      { outputBytesMax, deadlineMs: trialMsMax },
    ),
  );
  return judged(stdout, `the account ${account}`, false);
}

function judged(said: string, way: string, wanted: boolean): Check {
  if (!said.includes("tried"))
    return problem(
      "agent",
      `whether it is confined could not be tried (${said.trim() || "the trial said nothing"})`,
      "Run this again as the server's account.",
    );
  const got = [...said.matchAll(/^GOT (\w+)$/gm)].map(([, what]) => what);
  if (got.length === 0)
    return ok(
      "agent",
      `a trial in ${way} reached no file, environment or process of this account; its network is not confined`,
    );
  const says = `a trial in ${way} reached what is this account's (${got.join(", ")})`;
  return wanted
    ? warning(
        "agent",
        `it is not confined: ${says}`,
        "Set BREAKGLASS_ISOLATION=auto unless nothing here is worth keeping from it.",
      )
    : problem("agent", says, "Do not let it run so: set BREAKGLASS_ISOLATION=bubblewrap, and report this.");
}

/** What a program said in a cage of its own, whose folders are gone afterwards. */
async function inCage(
  isolation: Here,
  executable: string,
  args: readonly string[],
): Promise<{ readonly said: string } | { readonly problem: Check }> {
  const folder = await mkdtemp(join(tmpdir(), "bg-doctor-"));
  const runner = openRunner({ isolation, sessionsDir: join(folder, "sessions"), readable: [] });
  const door = createServer().listen(join(folder, "door"));
  try {
    const why = await runner.problem();
    if (why !== null) return { problem: told("agent", why) };
    const errand = { session: randomUUID(), executable, door: { socketPath: join(folder, "door"), binDir } };
    const { path, workspace } = runner.places(errand);
    return { said: await heard(runner.start({ ...errand, args, env: { PATH: path, HOME: workspace } })) };
  } finally {
    door.close();
    await runner.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function heard(cage: Cage): Promise<string> {
  const { stdin, stdout, stderr } = cage.running;
  stdin.end();
  const said = Promise.all([text(stdout), text(stderr)]).then(([out, err]) => out || err);
  const whole = await within(systemClock, trialMsMax, said);
  await cage.kill();
  return whole ?? "";
}

/** A runner runs nothing but the agent: what confines it there is told by the runner, and cannot be tried from here. */
async function* checkRunner({ sessionsDir }: Config, socketPath: string): AsyncGenerator<Check> {
  const runner = openRunner({ isolation: { kind: "runner", socketPath }, sessionsDir, readable: [] });
  try {
    const why = await runner.problem();
    if (why !== null) return yield told("agent", why);
    const door = { socketPath: "/nowhere", binDir };
    const errand = { session: trialSession, executable: "", door } as const;
    const { path, workspace } = runner.places(errand);
    const env = { PATH: path, HOME: workspace };
    yield versionIn(await heard(runner.start({ ...errand, args: ["--version"], env })));
    const { kind, says } = runner.isolation();
    if (kind === "none")
      return yield problem("agent", says, "Or set BREAKGLASS_ISOLATION=none, if that is what is meant.");
    yield warning(
      "agent",
      `what confines it could not be tried from here. ${says}`,
      "Run `breakglass doctor` where the runner is, with its account.",
    );
  } finally {
    await runner.close();
  }
}
