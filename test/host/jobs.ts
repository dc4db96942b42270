import { existsSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import { kill, until, type Ended, type Host } from "./host.ts";

/** Job ids to tests, one as good as another. */
export const jobId = (n: number) => `0f8fad5b-d9cb-469f-a165-${String(n).padStart(12, "0")}`;

export interface Entry {
  readonly phase?: string;
  readonly result?: string;
  readonly pid: number;
  readonly uptime: number;
}

/** What the host has written down of a job, in memory or on disk; a line that is being written is not there yet. */
export function journalOf(host: Host, id: string, place: "run" | "state" = "run"): Entry[] {
  const path = host.file(place === "run" ? `run/jobs/${id}/journal` : `state/jobs/${id}`);
  if (!existsSync(path)) return [];
  const whole = readFileSync(path, "utf8").replace(/[^\n]*$/, "");
  return whole.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Entry]));
}

export const reached = (host: Host, id: string, phase: string) =>
  until(host.dir, () => journalOf(host, id).some((entry) => entry.phase === phase));

export const ended = (host: Host, id: string) =>
  until(host.dir, () => journalOf(host, id).some((entry) => entry.result !== undefined));

/** kill -9 to the worker that wrote last; resolves once nothing holds what it held. */
export async function killWorker(host: Host, id: string): Promise<void> {
  const { pid } = journalOf(host, id).at(-1)!;
  expect(readFileSync(`/proc/${pid}/cmdline`, "latin1")).toContain("main.pl");
  kill(pid);
  await until(host.dir, () => !existsSync(`/proc/${pid}/fd/0`));
}

/** The steps of a call or a job: numbered from 0 without a gap, and the last one, and no other, is final. */
export function wholeSteps({ machine }: Ended, from = 0) {
  expect(machine.map(({ seq }) => seq)).toEqual(machine.map((_, index) => from + index));
  expect(machine.flatMap((line, index) => ("result" in line ? [index] : []))).toEqual([machine.length - 1]);
  return machine;
}
