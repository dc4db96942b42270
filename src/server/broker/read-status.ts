import type { Power } from "../power/power.ts";
import type { Caller } from "./caller.ts";
import type { Output } from "./output.ts";
import type { GuestEnd } from "./run-guest.ts";

/** Plain status changes nothing and is no Operation: what the hypervisor says, as it says it. */
export async function readStatus(
  { power, caller, output }: { readonly power: Power; readonly caller: Caller; readonly output: Output },
  target: string,
): Promise<GuestEnd> {
  const report = await power.status(target);
  if ("kind" in report)
    return {
      end: { kind: "refused", reason: report.kind },
      code: 255,
      sentence: `no hypervisor is configured for ${target}.`,
    };
  for (const channel of ["stdout", "stderr"] as const) {
    const bytes = Buffer.from(report[channel]);
    output.take(channel, bytes);
    caller.send(channel, bytes);
  }
  const { exit_code } = report;
  if (exit_code === null)
    return { end: { kind: "unknown", reason: "The hypervisor gave no answer." }, code: 255 };
  return { end: { kind: "exited", code: exit_code }, code: exit_code };
}
