import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { serveLines } from "./lines.ts";
import type { Machine } from "./machine.ts";
import { qm } from "./qm.ts";

export interface Control {
  readonly path: string;
  /** The executable that stands for qm: it asks this socket. */
  readonly qmPath: string;
  close(): Promise<void>;
}

/**
 * The demo's control socket, in its own 0700 folder: one line of JSON each way.
 * `{"do":"state"}` answers `{power, wedged, booted, pid}`; `{"do":"wedge"}` stalls the machine's disk I/O and answers
 * `{ok}`, false when it is not up; `{"do":"qm","argv":[…]}` answers `{out, err, code}`.
 */
export async function openControl(options: {
  readonly dir: string;
  readonly machine: Machine;
}): Promise<Control> {
  const path = join(options.dir, "control.sock");
  const server = await serveLines({
    path,
    answer: (request) => answer(options.machine, request),
    single: true,
  });
  const qmPath = join(options.dir, "qm");
  await writeFile(`${qmPath}.cjs`, qmProgram(path));
  await writeFile(
    qmPath,
    `#!/bin/sh\nexec ${shellQuoted(process.execPath)} ${shellQuoted(`${qmPath}.cjs`)} "$@"\n`,
  );
  await chmod(qmPath, 0o700);
  return { path, qmPath, close: server.close };
}

async function answer(machine: Machine, request: unknown): Promise<object> {
  if (typeof request !== "object" || request === null) return { error: "A request is a JSON object." };
  const asked = request as { do?: unknown; argv?: unknown };
  switch (asked.do) {
    case "state": {
      const { pid, wedged, booted } = machine;
      return { power: pid === null ? "off" : "on", wedged, booted, pid };
    }
    case "wedge":
      return { ok: machine.wedge() };
    case "qm":
      if (!Array.isArray(asked.argv)) return { error: "qm needs argv." };
      return qm(machine, asked.argv.map(String));
    default:
      return { error: `There is no ${JSON.stringify(asked.do)} here; there are state, wedge and qm.` };
  }
}

/** Plain CommonJS, since it stands alone in a folder without a package. */
function qmProgram(path: string): string {
  return `const { connect } = require("node:net");
let text = "";
const request = JSON.stringify({ do: "qm", argv: process.argv.slice(2) }) + "\\n";
const socket = connect(${JSON.stringify(path)}, () => socket.write(request));
socket.setEncoding("utf8").on("data", (chunk) => (text += chunk));
socket.on("error", (error) => fail(error.message));
socket.on("end", () => {
  if (text === "") return fail("the demo machine has ended");
  const { out, err, code } = JSON.parse(text);
  process.stdout.write(out);
  process.stderr.write(err);
  process.exitCode = code;
});
function fail(message) {
  process.stderr.write("qm: " + message + "\\n");
  process.exitCode = 255;
}
`;
}

const shellQuoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
