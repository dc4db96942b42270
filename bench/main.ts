import { parseArgs } from "node:util";
import { agentFigures } from "./agent.ts";
import { benchKill } from "./kill.ts";
import { benchPower } from "./power.ts";
import { print } from "./print.ts";
import { benchShim } from "./shim.ts";
import { benchStart } from "./start.ts";
import { appendLatency, replayTime } from "./store.ts";
import { benchStream } from "./stream.ts";
import { benchTap } from "./tap.ts";

/** `npm run bench [-- start store stream kill power tap shim agent]`: one line of JSON a figure, each beside a baseline of the same run. */
const parts: Readonly<Record<string, () => Promise<void>>> = {
  start: benchStart,
  store: benchStore,
  stream: benchStream,
  kill: benchKill,
  power: benchPower,
  tap: benchTap,
  shim: benchShim,
  agent: benchAgent,
};

const { positionals } = parseArgs({ allowPositionals: true });
const unknown = positionals.filter((name) => !Object.hasOwn(parts, name));
if (unknown.length > 0)
  throw new Error(`There is no part ${unknown.join(", ")}; there are: ${Object.keys(parts).join(", ")}.`);
for (const [name, run] of Object.entries(parts)) {
  if (positionals.length === 0 || positionals.includes(name)) await run();
}

// Warm connections and their keepers would hold the process open for minutes.
process.exit();

async function benchStore(): Promise<void> {
  for (const writers of [1, 64]) {
    const { p50, p99, baselineP50, baselineP99 } = await appendLatency(writers, 500);
    print(`append until durable, ${writers} writers`, {
      p50Ms: p50,
      baseline: "bare write and fdatasync, one writer",
      baselineMs: baselineP50,
      p99Ms: p99,
      p99BaseMs: baselineP99,
    });
  }
  const { replay, baseline, firstOpening } = await replayTime();
  print("replay of 100,000 events within the store", {
    ms: replay,
    baseline: "bare reads of the same file",
    baselineMs: baseline,
    firstOpeningMs: firstOpening,
  });
}

async function benchAgent(): Promise<void> {
  const { isolation, turnWarmMs, turnFreshMs, toolTurnWarmMs, cancelMs, modelMs } =
    await agentFigures("auto");
  const baseline = { baseline: "the model stand-in alone", baselineMs: modelMs };
  print("turn, agent process warm", { ms: turnWarmMs, ...baseline, isolation, limitMs: 60 });
  print("turn with one tool call, warm", { ms: toolTurnWarmMs, ...baseline });
  print("turn, fresh process", { ms: turnFreshMs, ...baseline, firstImplementationMs: 400 });
  print("cancel, a detached grandchild included", { ms: cancelMs, ...baseline, limitMs: 50 });
}
