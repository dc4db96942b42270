import { randomUUID } from "node:crypto";
import type { Config } from "../server/config/config.ts";
import type { Answer, Ask } from "../server/runbooks/ask.ts";
import { accountName, guestAlias, observeAlias } from "../server/sides.ts";
import type { Ssh } from "../server/ssh/ssh.ts";
import { Refused } from "./by-server.ts";
import { openLine } from "./line.ts";

/** Of one answer; what comes beyond is not looked at. */
const outputBytesMax = 256 * 1024;

/** Asks without a server: the guest as the account that owns nothing where there is one, the hypervisor by its reading Verbs. */
export async function askingOverSsh(
  config: Config,
  path: string,
  target: string,
  say: (sentence: string) => void,
): Promise<{ readonly ask: Ask; close(): Promise<void> }> {
  const machine = config.targets.find(({ name }) => name === target);
  if (machine === undefined)
    throw new Refused(`No target is configured by the name "${target}". Nothing was asked.`, false);
  const { ssh, power, close } = await openLine(config, path, null, say);

  async function askPower(command: string): Promise<Answer> {
    if (machine?.power === undefined)
      return answered({ kind: "refused", reason: `No hypervisor is configured for ${target}.` });
    if (command === "status") {
      const report = await power.status(target);
      if ("kind" in report) return answered({ kind: "refused", reason: "There is no such side." });
      return ofCode(report.exit_code, report.stdout + report.stderr);
    }
    const by = `cli:${accountName()}`;
    const asked = await power.submit({ target, verb: "forensics", key: randomUUID(), by });
    if (asked.kind !== "accepted")
      return answered({ kind: "refused", reason: `The hypervisor was not asked (${asked.kind}).` });
    const { exit_code, output, outcome } = await asked.settled;
    const why = outcome !== undefined && "reason" in outcome ? outcome.reason : "";
    return ofCode(exit_code ?? null, output === "" ? why : output);
  }

  const { guest } = machine;
  return {
    ask: ({ on, command, timeoutMs }) => {
      if (on === "power") return askPower(command);
      if (guest === undefined)
        return Promise.resolve(
          answered({ kind: "refused", reason: `No guest side is configured for ${target}.` }),
        );
      const alias = guest.observeUser === undefined ? guestAlias(target) : observeAlias(target);
      return askGuest(ssh, alias, command, timeoutMs);
    },
    close,
  };
}

async function askGuest(ssh: Ssh, alias: string, command: string, timeoutMs: number): Promise<Answer> {
  const { exit, stdout, stderr, deadlinePassed } = await ssh.run(alias, [command], {
    outputBytesMax,
    deadlineMs: timeoutMs,
    repeatable: { firstOutputMs: null },
  });
  if (deadlinePassed)
    return answered({ kind: "unknown", reason: `There was no answer within ${timeoutMs / 1000} s.` });
  switch (exit.kind) {
    case "exited":
      return ofCode(exit.code === 255 ? null : exit.code, stdout + stderr);
    case "signalled":
      return answered({ kind: "unknown", reason: `The ssh client was ended by ${exit.signal}.` });
    case "not_sent":
      return answered({ kind: "unknown", reason: exit.reason });
  }
}

function ofCode(code: number | null, output: string): Answer {
  if (code !== null) return answered({ kind: "exited", code }, output);
  const said = output.trim().split("\n").at(-1);
  return answered({ kind: "unknown", reason: said || "No answer came." }, output);
}

/** Nobody records it, so that it has no number. */
function answered(end: Answer["end"], output = ""): Answer {
  return { n: -1, end, output };
}
