import type { Preset } from "../protocol/api.ts";

/** The questions that a person with a phone and a dead machine asks first; `breakglass.yaml` may replace them. */
export const defaultPresets: readonly Preset[] = [
  {
    name: "Triage",
    runbook: "triage",
    about: "The whole machine at a glance: what is wrong?",
    prompt:
      "Triage the machine. Look at uptime and load, memory and swap, every disk, failed units, and the kernel's last " +
      "words. Change nothing. Then tell me what is wrong, worst first, and what you would do about it.",
  },
  {
    name: "Memory / OOM",
    runbook: "memory",
    about: "Pressure, top consumers, recent OOM kills, swap",
    prompt:
      "Is memory the problem? Look at pressure, swap, the largest consumers, and what the kernel has killed for want of " +
      "memory lately. Change nothing. Tell me who uses it, who was killed, and what to do.",
  },
  {
    name: "Disk",
    runbook: "disk",
    about: "What fills it, and what is safe to clear",
    prompt:
      "Is a disk the problem? Look at space and inodes on every mount, and at what fills the fullest one. Delete " +
      "nothing. Tell me what grew, what can be cleared safely, and the exact command that you would use.",
  },
  {
    name: "Services",
    runbook: "services",
    about: "Failed or stuck units, with their last journal lines",
    prompt:
      "Which units have failed or are stuck? Show each with the last lines of its journal and say why it failed. " +
      "Restart nothing. Tell me what has to be mended before a restart can succeed.",
  },
  {
    name: "QEMU wedged?",
    runbook: "qemu-wedged",
    about: "Does the guest answer, what does the hypervisor see, is a cycle needed?",
    prompt:
      "Is the machine's QEMU process wedged? See whether the guest answers over SSH, then what the hypervisor's status " +
      "and forensics say about the process, QMP, the disk counters and the guest agent. Do not touch the power. Tell " +
      "me whether a cycle is needed, and why a reset would or would not do.",
  },
];
