import type { VerbAnswer } from "../../protocol/api.ts";
import type { OperationId } from "../../protocol/ids.ts";
import type { Verb } from "../../protocol/verbs.ts";
import type { Entry } from "./entry.ts";
import type { Power } from "./power.ts";

/** EX_TEMPFAIL of sysexits(3): another Operation holds the Target. */
export const busyCode = 75;

/**
 * The fixed contract's answer, after waiting for the Verb's end: `exit_code` is the host's, 75 when another Operation
 * holds the Target, and null when nobody knows; 0 only for what was seen to be done.
 */
export async function verbAnswer(
  power: Pick<Power, "submit" | "status"> & {
    readonly entryOf: (id: OperationId) => Entry | undefined;
    readonly newId: () => OperationId;
  },
  { target, verb, by }: { readonly target: string; readonly verb: Verb; readonly by: string },
): Promise<VerbAnswer> {
  const nothingDone = (exit_code: number | null, stderr: string): VerbAnswer => ({
    verb,
    exit_code,
    stdout: "",
    stderr: `${stderr}\n`,
    rejected: true,
  });
  const asked =
    verb === "status"
      ? await power.status(target)
      : await power.submit({ target, verb, key: power.newId(), by });
  if ("exit_code" in asked)
    return {
      verb,
      exit_code: asked.exit_code,
      stdout: asked.stdout,
      stderr: asked.stderr,
      rejected: isRefusal(asked.exit_code),
    };
  switch (asked.kind) {
    case "unknown_target":
      return nothingDone(null, `No target is configured by the name "${target}". Nothing was done.`);
    case "no_power":
      return nothingDone(
        null,
        `No hypervisor is configured for "${target}", so that ${verb} cannot be sent. Nothing was done: set BREAKGLASS_PVE_HOST and restart the server.`,
      );
    case "busy": {
      const { verb: holds, by: holder, requested_at } = asked.holder;
      return nothingDone(
        busyCode,
        `"${target}" is busy: ${holds}, asked for by ${holder} at ${requested_at}, is under way. Nothing was done: wait for its end.`,
      );
    }
    case "accepted":
      break;
    default:
      throw new Error(`A new key without "after" was answered with ${asked.kind}.`);
  }
  await asked.settled;
  const entry = power.entryOf(asked.operation.id);
  // A Reset is not done before the guest was seen to boot.
  await entry?.known;
  const operation = entry?.operation ?? (await asked.settled);
  const report = entry?.report;
  const stdout = report?.stdout ?? entry?.output?.text ?? operation.output;
  const stderr = report?.stderr ?? "";
  const { outcome, exit_code = null } = operation;
  const reason = outcome?.kind === "unknown" ? outcome.reason : "";
  const notRecorded = operation.durable
    ? ""
    : "This operation could not be recorded in time (durable: false).\n";
  return {
    verb,
    // The host's 0 without the goal seen is no success: whoever reads only the code must not take it for one.
    exit_code: exit_code === 0 && outcome?.kind !== "done" ? null : exit_code,
    stdout,
    stderr: `${stderr.includes(reason) ? stderr : `${stderr}${reason}\n`}${notRecorded}`,
    rejected: outcome?.kind === "refused" || outcome?.kind === "busy",
  };
}

/** 2, 3, 9 and 75 of the host: it did nothing (HOST-VERBS). */
function isRefusal(code: number | null): boolean {
  return code !== null && [2, 3, 9, busyCode].includes(code);
}
