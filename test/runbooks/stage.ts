import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { systemClock, type Clock } from "../../src/server/clock.ts";
import type { Answer, Ask } from "../../src/server/runbooks/ask.ts";
import { loadRunbooks, type RunbookOutcome, type Runbooks } from "../../src/server/runbooks/runbooks.ts";

/** What a machine answers to a command: its output, or that with its exit code. */
export type Answers = Readonly<Record<string, string | { readonly code: number; readonly output: string }>>;

export function recorded(name: "debian" | "alpine"): Answers {
  const read = (file: string) => parse(readFileSync(`test/cases/runbooks/${file}.yaml`, "utf8")) as Answers;
  return name === "alpine" ? { ...read("debian"), ...read("alpine") } : read("debian");
}

export const exited = (output: string, code = 0): Answer => ({ n: 0, end: { kind: "exited", code }, output });
export const lost = (reason = "ssh: connection timed out"): Answer => ({
  n: 0,
  end: { kind: "unknown", reason },
  output: "",
});

/** Answers from what was recorded; what was not is "not found", as a shell says it. */
export function asking(answers: Answers): Ask {
  return async ({ command }) => {
    const answer = answers[command];
    if (answer === undefined) return exited(`sh: ${command.split(" ")[0]}: not found`, 127);
    const { output, code } = typeof answer === "string" ? { output: answer, code: 0 } : answer;
    return exited(output.replace("{now}", String(Math.floor(Date.now() / 1000))), code);
  };
}

export async function ours(clock: Clock = systemClock, further: readonly unknown[] = []): Promise<Runbooks> {
  const { runbooks, problems } = await loadRunbooks({ folder: "runbooks", further, clock });
  if (problems.length > 0) throw new Error(JSON.stringify(problems, null, 2));
  return runbooks;
}

export async function run(
  runbooks: Runbooks,
  name: string,
  ask: Ask,
  signal = new AbortController().signal,
): Promise<RunbookOutcome> {
  const outcome = await runbooks.run(name, { target: "devvm", ask, signal });
  if (outcome === null) throw new Error(`There is no runbook ${name}.`);
  return outcome;
}

/** One Runbook of one step, for what is under test. */
export function oneStep(step: Readonly<Record<string, unknown>>, name = "mine") {
  return { name, title: "Mine", steps: [{ name: "step", run: "look", ...step }] };
}
