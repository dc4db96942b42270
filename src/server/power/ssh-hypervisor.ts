import type { HostReport } from "../../protocol/outcome.ts";
import { verbs } from "../../protocol/verbs.ts";
import type { Ssh, SshFinished } from "../ssh/ssh.ts";
import type { Hypervisor } from "./hypervisor.ts";

/** Kept of each channel of one Verb; what comes after is dropped, and the machine line at its end with it. */
const outputBytesMax = 1024 * 1024;
/** The host answers status within 5 s and forensics within 20 s; past this the answer is "unknown". */
const readOnlyMsMax = 45_000;
/** A Cycle takes minutes at worst. Past this the local ssh is ended, never the job; what is not known by then stays unknown. */
const mutatingMsMax = 30 * 60_000;
/** A healthy host has answered status by then; later it is asked once more over a fresh connection. */
const statusFirstOutputMs = 3_000;

/**
 * Verbs over the system's ssh, as the plain word: `cycle`, or `cycle 102` where the key may touch several VMs. The host
 * cannot tell a repeated word from a second request: only what changes nothing is asked again after a lost line.
 */
export function sshHypervisor(deps: {
  readonly ssh: Ssh;
  readonly alias: string;
  readonly vmid?: number;
}): Hypervisor {
  const { ssh, alias, vmid } = deps;
  return {
    async run(verb, _job, onOutput) {
      const { mutating } = verbs[verb];
      const words = vmid === undefined ? [verb] : [verb, String(vmid)];
      const end = await ssh.run(alias, words, {
        onOutput,
        outputBytesMax,
        deadlineMs: mutating ? mutatingMsMax : readOnlyMsMax,
        ...(!mutating && { repeatable: { firstOutputMs: verb === "status" ? statusFirstOutputMs : null } }),
      });
      return report(end);
    },
  };
}

function report(end: SshFinished): HostReport {
  const { exit, stdout, stderr } = end;
  const unknown = (sentence: string): HostReport => ({
    exit_code: null,
    stdout,
    stderr: `${stderr}${stderr === "" || stderr.endsWith("\n") ? "" : "\n"}${sentence}\n`,
  });
  if (exit.kind === "not_sent") return { ...unknown(exit.reason), sent: false };
  if (end.deadlinePassed)
    return unknown(
      "The hypervisor did not finish in time; the job may still be running there. Ask for status.",
    );
  if (exit.kind === "signalled")
    return unknown(
      `The ssh client was ended by ${exit.signal}; what the hypervisor did is not known. Ask for status.`,
    );
  // The host's own grammar has no 255: it is the line that broke.
  if (exit.code === 255)
    return unknown("The connection to the hypervisor broke; what it did is not known. Ask for status.");
  return { exit_code: exit.code, stdout, stderr };
}
