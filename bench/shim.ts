import { spawnSync } from "node:child_process";
import { brokerStage, shim } from "../test/broker/stage.ts";
import { median } from "./pinned.ts";
import { print } from "./print.ts";

const rounds = 30;
const warmUp = 3;

/**
 * What the agent's `ssh devvm true` costs beyond the remote work: the shim's process, the Broker's decision and both records,
 * beside the same command by the Broker's own ssh, over the same warm connection.
 */
export async function benchShim(): Promise<void> {
  const stage = await brokerStage();
  const direct = { outputBytesMax: 1_024, deadlineMs: 10_000 };
  const ours: number[] = [];
  const bare: number[] = [];
  const node: number[] = [];
  try {
    for (let round = -warmUp; round < rounds; round++) {
      const begun = performance.now();
      const { code } = await shim(stage.door, ["devvm", "true"]);
      const asked = performance.now();
      const { exit } = await stage.ssh.run("devvm", ["true"], direct);
      const ended = performance.now();
      spawnSync(process.execPath, ["--eval", "0"]);
      if (code !== 0 || exit.kind !== "exited") throw new Error("the command did not run");
      if (round < 0) continue;
      ours.push(asked - begun);
      bare.push(ended - asked);
      node.push(performance.now() - ended);
    }
  } finally {
    await stage.close();
  }
  print("the agent's ssh, warm connection", {
    ms: median(ours),
    baseline: "the same command by the broker's own ssh",
    baselineMs: median(bare),
    beyondMs: median(ours) - median(bare),
    nodeMs: median(node),
    limitMs: 60,
  });
}
