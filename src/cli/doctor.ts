import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { parseArgs } from "node:util";
import { visibleText } from "../protocol/visible.ts";
import type { Config } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { programPath } from "../server/process/programs.ts";
import { checkAgent } from "./doctor/agent.ts";
import type { Check } from "./doctor/check.ts";
import { ok, problem, warning } from "./doctor/check.ts";
import { checkData } from "./doctor/data.ts";
import { checkMachines } from "./doctor/machines.ts";
import { checkModel } from "./doctor/model.ts";
import { checkServer } from "./doctor/server.ts";

/** Checks every part for real, tells each as it is seen, and changes nothing. 0 when there is no problem. */
export async function runDoctor(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const json = wantsJson(args);
  if (json === null) {
    process.stderr.write("breakglass doctor [--json]\n");
    return 2;
  }
  const checks: Check[] = [];
  for await (const check of lookAtAll(env)) {
    checks.push(check);
    if (!json) process.stdout.write(`${line(check)}\n`);
  }
  const problems = checks.filter(({ state }) => state === "problem").length;
  if (json) process.stdout.write(`${JSON.stringify({ ok: problems === 0, checks })}\n`);
  else process.stdout.write(`${closing(problems)}\n`);
  return problems === 0 ? 0 : 1;
}

async function* lookAtAll(env: NodeJS.ProcessEnv): AsyncGenerator<Check> {
  const ownAddresses = Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address),
  );
  const { config, problems, warnings } = await readConfig(
    env,
    (path) => readFileSync(path, "utf8"),
    ownAddresses,
  );
  for (const { option, value, mend } of problems)
    yield problem("configuration", `${option} (${value})`, mend);
  for (const { option, value, mend } of warnings)
    yield warning("configuration", `${option} (${value})`, mend);
  if (config === null)
    return yield problem(
      "configuration",
      "nothing else could be checked",
      "Mend the above, then run this again.",
    );
  if (problems.length + warnings.length === 0) yield ok("configuration", "every option is understood");
  yield* lookAt(config, env);
}

async function* lookAt(config: Config, env: NodeJS.ProcessEnv): AsyncGenerator<Check> {
  const path = programPath(env);
  yield await checkServer(config);
  yield* checkMachines(config, path);
  yield* checkData(config);
  yield* checkAgent(config);
  yield* checkModel(config.agent.credentials, env);
}

function wantsJson(args: readonly string[]): boolean | null {
  try {
    return parseArgs({ args: [...args], options: { json: { type: "boolean", default: false } } }).values.json;
  } catch {
    return null;
  }
}

function line({ part, state, says, mend }: Check): string {
  const whole = mend === undefined ? says : `${says}. ${mend}`;
  return visibleText(`${state.padEnd(8)} ${part}: ${whole.replaceAll("\n", " ")}`);
}

function closing(problems: number): string {
  if (problems === 0) return "No problem was found.";
  return `${problems === 1 ? "1 problem was" : `${problems} problems were`} found. What is ok works without them; mend them, then run this again.`;
}
