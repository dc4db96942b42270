import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { visibleText } from "../protocol/visible.ts";
import { systemClock } from "../server/clock.ts";
import type { Config } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { defaultTarget } from "../server/config/targets.ts";
import { programPath } from "../server/process/programs.ts";
import { loadRunbooks, type RunbookOutcome, type Runbooks } from "../server/runbooks/runbooks.ts";
import { parseAsked } from "./asked.ts";
import { Refused } from "./by-server.ts";
import { controlPaths, NobodyThere } from "./control.ts";
import { endOnInterrupt } from "./interrupt.ts";
import { runOnServer } from "./runbook-by-server.ts";
import { askingOverSsh } from "./runbook-by-ssh.ts";

/** What a script sees. */
const exitCodes = {
  nothingFound: 0,
  found: 1,
  /** Nothing was found, and something that was asked was not answered; or it was not asked at all. */
  notKnown: 2,
  /** Of sysexits(3). */
  usage: 64,
  config: 78,
} as const;

export interface RunbookAsking {
  readonly name: string;
  readonly target: string;
  readonly key: string;
}

const say = (sentence: string) => void process.stderr.write(`${visibleText(sentence)}\n`);
const tell = (line: string) => void process.stdout.write(`${visibleText(line)}\n`);

const usage = "breakglass runbook [NAME] [--target NAME] [--json]";
/** Ours, beside the sources. */
const folder = join(import.meta.dirname, "../../runbooks");

/** `breakglass runbook [name] [--target t] [--json]`: answers the exit code. Without a name it lists them. */
export async function runRunbook(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const asked = parseArguments(args);
  if (typeof asked === "string") {
    say(`${asked} Nothing was asked.\n${usage}`);
    return exitCodes.usage;
  }
  const { config } = await readConfig(env, (path) => readFileSync(path, "utf8"));
  if (config === null) {
    say("The settings are not usable. `npm run serve` says what is wrong. Nothing was asked.");
    return exitCodes.config;
  }
  const { runbooks, problems } = await loadRunbooks({ folder, further: config.runbooks, clock: systemClock });
  for (const { option, mend } of problems) say(`${option}: ${mend}`);
  if (asked.name === undefined) return list(runbooks, asked.json);
  const asking = {
    name: asked.name,
    target: asked.target ?? defaultTarget(config.targets),
    key: randomUUID(),
  };
  endOnInterrupt(() =>
    say(
      `\n${asking.name} on ${asking.target} was called off. It changes nothing. Where a server ran it, it ends there by itself.`,
    ),
  );
  try {
    const outcome = await carryOut(config, runbooks, programPath(env), asking);
    report(outcome, asked.json);
    return exitCodeOf(outcome);
  } catch (error) {
    const { message } = error as Error;
    if (asked.json) process.stdout.write(`${JSON.stringify({ detail: message })}\n`);
    else
      say(
        error instanceof Refused
          ? message
          : `${asking.name} broke off (${message}). ${runbooks.isOurs(asking.name) ? "Nothing was changed; ask again." : "It is from your configuration, not checked to be read-only: look what it has done before you ask again."}`,
      );
    return exitCodes.notKnown;
  }
}

/** Through the server when it runs, so that it is on record; without it straight over SSH. */
async function carryOut(
  config: Config,
  runbooks: Runbooks,
  path: string,
  asking: RunbookAsking,
): Promise<RunbookOutcome> {
  for (const socket of controlPaths(config)) {
    try {
      return await runOnServer(socket, asking, say);
    } catch (error) {
      if (!(error instanceof NobodyThere)) throw error;
    }
  }
  const { name, target } = asking;
  if (!runbooks.list().some((each) => each.name === name))
    throw new Refused(
      `There is no runbook "${name}". \`breakglass runbook\` lists them. Nothing was asked.`,
      false,
    );
  say(`No server answers: ${name} goes straight over SSH, and is not recorded.`);
  const over = await askingOverSsh(config, path, target, say);
  try {
    const outcome = await runbooks.run(name, { target, ask: over.ask, signal: new AbortController().signal });
    if (outcome === null) throw new Error("it is gone");
    return outcome;
  } finally {
    await over.close();
  }
}

function parseArguments(args: readonly string[]) {
  const asked = parseAsked(args);
  if (typeof asked === "string") return asked;
  const [name, ...others] = asked.words;
  return others.length > 0 ? "One runbook at a time." : { name, ...asked };
}

function list(runbooks: Runbooks, json: boolean): number {
  const all = runbooks.list();
  if (json) process.stdout.write(`${JSON.stringify(all)}\n`);
  else for (const { name, about } of all) tell(`${name.padEnd(16)} ${about}`);
  return exitCodes.nothingFound;
}

function report(outcome: RunbookOutcome, json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(outcome)}\n`);
  const { title, target, summary, findings, unanswered, next } = outcome;
  tell(`${title} on ${target}: ${summary}`);
  for (const { level, step, says, evidence } of findings) {
    tell(`\n${level === "bad" ? "BAD    " : "WARNING"} ${says}`);
    if (evidence !== "") tell(`        ${step}: ${evidence}`);
  }
  if (unanswered.length > 0) tell("");
  for (const { step, reason } of unanswered) tell(`UNKNOWN ${step}: ${reason}`);
  tell(`\nNext: ${next}`);
}

function exitCodeOf({ findings, unanswered }: RunbookOutcome): number {
  if (findings.length > 0) return exitCodes.found;
  return unanswered.length > 0 ? exitCodes.notKnown : exitCodes.nothingFound;
}
