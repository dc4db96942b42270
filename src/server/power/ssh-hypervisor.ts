import type { HostReport } from "../../protocol/outcome.ts";
import { verbs } from "../../protocol/verbs.ts";
import type { Clock } from "../clock.ts";
import type { Ssh, SshFinished } from "../ssh/ssh.ts";
import { followJob, withSentence } from "./follow-job.ts";
import type { Hear, Hypervisor } from "./hypervisor.ts";
import { StepReader } from "./steps.ts";

/** Kept of a reading Verb's output, with all its evidence; what comes after is dropped, and the machine line at its end with it. */
const outputBytesMax = 2 * 1024 * 1024;
/** The host answers status within 5 s and forensics within 20 s; past this the answer is "unknown". */
const readMsMax = 45_000;
/** A healthy host has answered by then; later it is asked once more over a fresh connection. */
const firstOutputMs = 3_000;

/** Verbs over the system's ssh, in the words of `host/breakglass-host`; `vmid` where its key may touch several VMs. */
export function sshHypervisor(deps: {
  readonly ssh: Pick<Ssh, "run">;
  readonly clock: Clock;
  readonly alias: string;
  readonly vmid?: number;
  /** Within this from its asking a Verb that never arrived may be sent once more. */
  readonly resendMs: number;
}): Hypervisor {
  const { ssh, clock, alias, vmid, resendMs } = deps;
  const which = vmid === undefined ? [] : [String(vmid)];

  /** What changes nothing may be asked again: over a fresh connection, when the line says nothing or breaks. */
  async function read(words: readonly string[], hear: (chunk: string) => void): Promise<HostReport> {
    const end = await ssh.run(alias, words, {
      onOutput: (_, text) => hear(text),
      outputBytesMax,
      deadlineMs: readMsMax,
      repeatable: { firstOutputMs },
    });
    return readReport(end);
  }

  return {
    run(verb, job, hear) {
      if (verb === "status") return read([verb, ...which], (text) => hear.output(text));
      const words = ["v2", verb, job, ...which];
      if (!verbs[verb].mutating) return read(words, hearSteps(hear));
      return followJob({ ssh, clock, alias, job, hear }, { words, resendMs });
    },
    attach: (job, askedAt, hear) => followJob({ ssh, clock, alias, job, hear }, { askedAt }),
  };
}

function hearSteps(hear: Hear): (chunk: string) => void {
  const reader = new StepReader();
  return (chunk) => {
    for (const { text, evidence } of reader.take(chunk)) {
      if (evidence !== undefined) hear.evidence(evidence);
      if (text !== "") hear.output(text);
    }
  };
}

function readReport(end: SshFinished): HostReport {
  const { exit, stdout, stderr } = end;
  const unknown = (sentence: string): HostReport => ({
    exit_code: null,
    stdout,
    stderr: withSentence(stderr, sentence),
  });
  if (exit.kind === "not_sent") return { ...unknown(exit.reason), sent: false };
  if (end.deadlinePassed)
    return unknown("The hypervisor did not answer in time. Nothing was changed; ask again.");
  if (exit.kind === "signalled")
    return unknown(`The ssh client was ended by ${exit.signal}. Nothing was changed; ask again.`);
  // The host's own grammar has no 255: it is the line that broke.
  if (exit.code === 255)
    return unknown("The connection to the hypervisor broke. Nothing was changed; ask again.");
  return { exit_code: exit.code, stdout, stderr };
}
