import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Operation } from "../protocol/api.ts";
import { parseVerb, verbNames, verbs } from "../protocol/verbs.ts";
import { outcomeWords } from "../protocol/words.ts";
import { visibleText } from "../protocol/visible.ts";
import type { Config } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { defaultTarget } from "../server/config/targets.ts";
import { programPath } from "../server/process/programs.ts";
import { parseAsked } from "./asked.ts";
import { askOverSsh } from "./by-ssh.ts";
import { askServer, Refused, type Asking } from "./by-server.ts";
import { controlPaths, NobodyThere } from "./control.ts";
import { HumanLines } from "./human-lines.ts";
import { endOnInterrupt } from "./interrupt.ts";

/** What a script sees. The hypervisor's own codes (2 to 9, 75) pass through; 0 is given for nothing but done. */
const exitCodes = {
  done: 0,
  refused: 2,
  failed: 1,
  busy: 75,
  /** It may have been carried out. */
  unknown: 255,
  /** Of sysexits(3). */
  usage: 64,
  config: 78,
} as const;

const say = (sentence: string) => void process.stderr.write(`${visibleText(sentence)}\n`);

/** `breakglass verb <verb> [--target t] [--json]`: answers the exit code. */
export async function runVerb(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const asked = parseArguments(args);
  if (typeof asked === "string") {
    say(`${asked} Nothing was sent.\nbreakglass verb ${verbNames.join("|")} [--target NAME] [--json]`);
    return exitCodes.usage;
  }
  const { config } = await readConfig(env, (path) => readFileSync(path, "utf8"));
  if (config === null) {
    say("The settings are not usable. `npm run serve` says what is wrong. Nothing was sent.");
    return exitCodes.config;
  }
  const { verb, json } = asked;
  const asking = { verb, target: asked.target ?? defaultTarget(config.targets), key: randomUUID() };
  endOnInterrupt(() => say(calledOff(asking)));
  const lines = new HumanLines((text) => void process.stdout.write(text));
  try {
    const operation = await carryOut(config, programPath(env), asking, (output) => json || lines.add(output));
    lines.end();
    report(operation, json);
    return exitCodeOf(operation);
  } catch (error) {
    if (!(error instanceof Refused)) {
      say(
        `${verb} broke off here (${(error as Error).message}). It may have been carried out: ask for status before you act again.`,
      );
      return exitCodes.unknown;
    }
    if (json) process.stdout.write(`${JSON.stringify({ detail: error.message })}\n`);
    else say(error.message);
    return error.busy ? exitCodes.busy : exitCodes.refused;
  }
}

/** The server when it runs, so that it is one lock and one record; without it straight over SSH. */
async function carryOut(
  config: Config,
  path: string,
  asking: Asking,
  show: (output: string) => void,
): Promise<Operation> {
  let lost = false;
  // Twice, since a server that ended may be back already; its socket is looked for anew.
  for (let attempt = 0; attempt < 2; attempt++) {
    for (const socket of controlPaths(config)) {
      try {
        return await askServer(socket, asking, show);
      } catch (error) {
        if (error instanceof Refused) throw error;
        if (error instanceof NobodyThere) continue;
        lost = true;
        say(
          `The server does not answer any more (${(error as Error).message}). ${asking.verb} is asked for again with the same key: it is the same job, which acts once.`,
        );
      }
    }
    if (!lost) break;
  }
  say(`No server answers: ${asking.verb} goes straight over SSH.`);
  return askOverSsh(config, path, asking, { show, say });
}

function parseArguments(args: readonly string[]) {
  const asked = parseAsked(args);
  if (typeof asked === "string") return asked;
  const verb = parseVerb(asked.words[0]);
  if (asked.words.length !== 1 || verb === undefined)
    return `Exactly one verb is needed: ${verbNames.join(", ")}.`;
  return { verb, ...asked };
}

/** Ends the watching, never the job. */
function calledOff({ verb, target, key }: Asking): string {
  return verbs[verb].mutating
    ? `\nNobody watches any more, but ${verb} on ${target} goes on if it was sent (operation ${key}). See \`breakglass verb status --target ${target}\`, the page or /rescue/operation/${key}.`
    : `\n${verb} was called off. It changes nothing.`;
}

function report(operation: Operation, json: boolean): void {
  const { verb, outcome, durable } = operation;
  if (json) return void process.stdout.write(`${JSON.stringify(operation)}\n`);
  if (outcome === undefined) return;
  const { headline, detail } = outcomeWords(verb, outcome);
  if (outcome.kind !== "done" || verbs[verb].mutating)
    say(detail === "" ? headline : `${headline} ${detail}`);
  if (!durable) say("It is not on record yet (durable: false). The verb itself is not touched by that.");
}

function exitCodeOf({ outcome, exit_code }: Operation): number {
  const kind = outcome?.kind ?? "unknown";
  if (kind === "done") return exitCodes.done;
  // The host's 0 without the goal seen is no success.
  return exit_code === undefined || exit_code === null || exit_code === 0 ? exitCodes[kind] : exit_code;
}
