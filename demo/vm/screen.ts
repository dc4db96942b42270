import type { Machine } from "./machine.ts";
import { pictureOf } from "./png.ts";

/** A text console of a virtual machine. */
const columns = 80;
const rows = 25;

/** What the machine's screen shows. */
export function screenOf(machine: Machine): Buffer {
  const said = machine.wedged ? hungTask(machine.uptimeSeconds) : machine.booted ? login : booting;
  const lines = said.flatMap((line) => line.match(/.{1,80}/g) ?? [""]);
  return pictureOf(
    Array.from({ length: rows }, (_, row) => lines[row] ?? ""),
    columns,
  );
}

const booting = [
  "Booting 'Debian GNU/Linux'",
  "",
  "Loading Linux 6.1.0-28-amd64 ...",
  "Loading initial ramdisk ...",
];
const login = ["Debian GNU/Linux 12 devvm tty1", "", "devvm login: _"];

/** The kernel tells of a task that has waited for its disk for two minutes. */
function hungTask(uptimeSeconds: number): string[] {
  const at = (micros: number) => `[${uptimeSeconds}.${micros}]`;
  return [
    ...login,
    "",
    `${at(184_201)} INFO: task jbd2/sda1-8:198 blocked for more than 120 seconds.`,
    `${at(184_377)}       Not tainted 6.1.0-28-amd64 #1 Debian 6.1.119-1`,
    `${at(184_511)} "echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.`,
    `${at(184_702)} task:jbd2/sda1-8     state:D stack:0     pid:198   ppid:2`,
  ];
}
