import { writeFile } from "node:fs/promises";
import { serveLines, type LineServer } from "./lines.ts";
import type { Machine } from "./machine.ts";
import { screenOf } from "./screen.ts";

/**
 * The machine's QEMU monitor, as far as evidence is gathered by it. It answers at once while the process lives: a stall of
 * the disk inside it shows in the counters only.
 */
export function serveQmp(path: string, machine: Machine): Promise<LineServer> {
  return serveLines({
    path,
    greeting: {
      QMP: { version: { qemu: { major: 9, minor: 2, micro: 0 }, package: "demo" }, capabilities: [] },
    },
    answer: (command) => answer(machine, command),
  });
}

async function answer(machine: Machine, command: unknown): Promise<object> {
  const asked = (command ?? {}) as { execute?: unknown; arguments?: { filename?: unknown } };
  switch (asked.execute) {
    case "qmp_capabilities":
      return { return: {} };
    case "query-status":
      return { return: { status: "running", running: true } };
    case "query-blockstats":
      return { return: [{ device: "drive-scsi0", qdev: "scsi0", stats: stats(machine.operations) }] };
    case "query-jobs":
    case "query-block-jobs":
      return { return: [] };
    case "screendump":
      if (typeof asked.arguments?.filename !== "string")
        return failed("GenericError", "Parameter 'filename' is missing");
      await writeFile(asked.arguments.filename, screenOf(machine));
      return { return: {} };
    default:
      return failed("CommandNotFound", `The command ${String(asked.execute)} has not been found`);
  }
}

const stats = (operations: number) => ({
  rd_operations: operations,
  wr_operations: operations * 2,
  flush_operations: Math.floor(operations / 3),
  rd_bytes: operations * 16_384,
  wr_bytes: operations * 8_192,
});

const failed = (kind: string, desc: string) => ({ error: { class: kind, desc } });
