import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunbookBrief } from "../../protocol/api.ts";
import type { RunbookSettled } from "../../protocol/events.ts";
import type { Clock } from "../clock.ts";
import type { Problem } from "../config/config.ts";
import { complain, shown, type Findings } from "../config/findings.ts";
import type { Ask } from "./ask.ts";
import type { Definition } from "./definition.ts";
import { judge } from "./judge.ts";
import type { Source } from "./read.ts";
import { askAll } from "./run.ts";
import { summaryOf } from "./summary.ts";

/** Named lists of questions, which need no model. Ours are read-only; one from the configuration says that nobody checked it. */
export interface Runbooks {
  list(): readonly RunbookBrief[];
  /**
   * null: there is none by this name. Asks every step, judges the answers, and says what looks wrong. Rejects with the
   * signal's reason when that is aborted, and for nothing else.
   */
  run(name: string, how: RunbookRun): Promise<RunbookOutcome | null>;
}

interface LoadedRunbooks extends Runbooks {
  /** Every step of it is one that we have checked to change nothing. */
  isOurs(name: string): boolean;
}

interface RunbookRun {
  readonly target: string;
  readonly ask: Ask;
  readonly signal: AbortSignal;
}

export type RunbookOutcome = Omit<RunbookSettled, "kind" | "phase">;

/** A longer file is no Runbook. */
const fileCharactersMax = 256 * 1024;
/** In the folder; further ones are left out, and that is told. */
const filesMax = 100;

function createRunbooks(definitions: readonly Definition[], clock: Clock): LoadedRunbooks {
  const byName = new Map(definitions.map((definition) => [definition.name, definition]));
  return {
    list: () => definitions.map(({ name, title, about }) => ({ name, title, about })),
    isOurs: (name) => byName.get(name)?.ours === true,
    async run(name, { target, ask, signal }) {
      const definition = byName.get(name);
      if (definition === undefined) return null;
      signal.throwIfAborted();
      const stopped = Promise.withResolvers<never>();
      const stop = () => stopped.reject(signal.reason);
      signal.addEventListener("abort", stop, { once: true });
      try {
        return await Promise.race([runOne(definition, target, ask, clock), stopped.promise]);
      } finally {
        signal.removeEventListener("abort", stop);
      }
    },
  };
}

async function runOne(
  definition: Definition,
  target: string,
  ask: Ask,
  clock: Clock,
): Promise<RunbookOutcome> {
  const asked = await askAll(definition, target, ask, clock);
  const judged = await judge(asked);
  const { name, title } = definition;
  return { name, title, target, ...summaryOf(definition, target, asked, judged) };
}

/**
 * Ours (`*.yaml` in `folder`) and the configuration's `further`, of which one with the name of
 * one of ours stands in for it. Never rejects: what is wrong is among the problems, and left out.
 */
export async function loadRunbooks(from: {
  readonly folder: string;
  readonly further: readonly unknown[];
  readonly clock: Clock;
}): Promise<{ readonly runbooks: LoadedRunbooks; readonly problems: readonly Problem[] }> {
  const findings: Findings = { problems: [], warnings: [] };
  const ours = await readFolder(from.folder, findings);
  const further = from.further.map((content, at) => ({ place: `runbooks[${at}]`, content, ours: false }));
  const { readRunbooks } = await import("./read.ts");
  const definitions = readRunbooks([...ours, ...further], findings);
  return { runbooks: createRunbooks(definitions, from.clock), problems: findings.problems };
}

async function readFolder(folder: string, findings: Findings): Promise<readonly Source[]> {
  const { parseDocument } = await import("yaml");
  const sources: Source[] = [];
  const told = (file: string, why: string) =>
    complain(findings, `runbooks/${file}`, shown(file), `${why} Its runbook is left out until then.`);
  const names = await readdir(folder).catch((error: Error) => {
    told("", `The folder cannot be read: ${shown(error.message)}.`);
    return [];
  });
  const files = names.filter((name) => name.endsWith(".yaml")).sort(inOrder);
  for (const file of files.slice(filesMax)) told(file, `There are more than ${filesMax} files.`);
  for (const file of files.slice(0, filesMax)) {
    try {
      const text = await readFile(join(folder, file), "utf8");
      if (text.length > fileCharactersMax)
        throw new Error(`it is longer than ${fileCharactersMax} characters`);
      const document = parseDocument(text);
      const [fault] = document.errors;
      if (fault !== undefined) throw new Error(`it is no YAML: ${fault.message.split("\n")[0]}`);
      sources.push({ place: `runbooks/${file}`, content: document.toJS(), ours: true });
    } catch (error) {
      told(file, `The file cannot be used: ${shown((error as Error).message)}.`);
    }
  }
  return sources;
}

/** Ours stand in the order in which a person in a hurry asks them; what others put there follows by name. */
const order = ["triage", "memory", "disk", "services", "qemu-wedged", "network"];

function inOrder(a: string, b: string): number {
  const place = (file: string) => {
    const at = order.indexOf(file.replace(/\.yaml$/, ""));
    return at < 0 ? order.length : at;
  };
  return place(a) - place(b) || a.localeCompare(b);
}
