import type { Config, TargetConfig } from "../../server/config/config.ts";
import { guestAlias, sshHosts } from "../../server/sides.ts";
import { openAccess, type Access } from "../enroll/access.ts";
import { holds, type Fact } from "../enroll/facts.ts";
import { sidesOf } from "../enroll/sides.ts";
import { mend, said } from "../enroll/tell.ts";
import { verify } from "../enroll/verify.ts";
import { configuredVmids } from "../enroll/wishes.ts";
import { ok, problem, warning, type Check } from "./check.ts";

/** The clock of the record and those of the machines are compared by people, a second apart is as good as equal. */
const skewOkSeconds = 5;
/** Beyond it timelines cannot be laid side by side, and certificates and tokens begin to fail. */
const skewProblemSeconds = 60;

/** The key, every account as it is configured, and the clocks; asked with the server's own key and ssh configuration. */
export async function* checkMachines(config: Config, path: string): AsyncGenerator<Check> {
  const { targets, keyPath, dataDir } = config;
  if (targets.length === 0)
    return yield warning(
      "machines",
      "none is configured",
      "Set BREAKGLASS_DEVVM_HOST and BREAKGLASS_PVE_HOST (docs/configuration.md), then `breakglass enroll devvm`.",
    );
  // The configuration has told it.
  if (keyPath === null) return;
  const access = await openAccess({ hosts: sshHosts(targets, {}), keyPath, dataDir, path });
  try {
    const sides = targets.flatMap((target) => sidesOf(target, configuredVmids(config, target)));
    for await (const fact of verify(access, sides)) yield judged(fact);
    for (const target of targets) yield* checkTarget(access, target);
  } finally {
    await access.close();
  }
}

function judged(fact: Fact): Check {
  return holds(fact) ? ok("machines", said(fact)) : problem("machines", said(fact), mend(fact));
}

async function* checkTarget(access: Access, { name, guest, power }: TargetConfig): AsyncGenerator<Check> {
  if (power === undefined)
    yield warning(
      "machines",
      `${name} has no power side`,
      "Without BREAKGLASS_PVE_HOST nothing can pull its power.",
    );
  if (guest === undefined)
    return yield warning(
      "clock",
      `${name} has no guest side to ask`,
      "A hypervisor's key may send verbs, and no `date`.",
    );
  if (guest.observeUser === undefined)
    yield warning(
      "machines",
      `${name} has no account that owns nothing`,
      "Each command of the agent there needs an Approval: set BREAKGLASS_OBSERVE_USER, then `breakglass enroll`.",
    );
  yield await checkClock(access, name);
}

async function checkClock(access: Access, target: string): Promise<Check> {
  const asked = Date.now();
  const answer = await access.ask(guestAlias(target), { command: ["date +%s.%N"] });
  const answered = Date.now();
  const theirs = Number(/^\d+(?:\.\d+)?/.exec(answer.stdout)?.[0] ?? Number.NaN) * 1_000;
  if (Number.isNaN(theirs))
    return warning("clock", `that of ${target} could not be asked`, "Mend the above, then run this again.");
  // It was read at some moment in between.
  const ahead = theirs > answered ? theirs - answered : theirs < asked ? theirs - asked : 0;
  const seconds = Math.abs(ahead) / 1_000;
  const says = `that of ${target} is ${seconds < 1 ? "as" : `${seconds.toFixed(1)} s ${ahead > 0 ? "ahead of" : "behind"}`} ours`;
  if (seconds <= skewOkSeconds) return ok("clock", says);
  const judge = seconds <= skewProblemSeconds ? warning : problem;
  return judge(
    "clock",
    says,
    "One of both is wrong: see `timedatectl` here and there. Timelines of the record and of its logs do not match until then.",
  );
}
