import { chmod, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Machine } from "./machine.ts";
import { qm } from "./qm.ts";

/** A request longer than this ends its connection. */
const requestBytesMax = 256 * 1024;

export interface Control {
  readonly path: string;
  /** The executable that stands for qm: it asks this socket. */
  readonly qmPath: string;
  close(): Promise<void>;
}

/**
 * The demo's control socket, in its own 0700 folder: one line of JSON each way.
 * `{"do":"state"}` answers `{power, wedged, booted, pid}`; `{"do":"wedge"}` stalls the machine's disk I/O and answers
 * `{ok}`, false when it is not up; `{"do":"qm","argv":[…],"stdin":"…"}` answers `{out, err, code}`.
 */
export async function openControl(options: {
  readonly dir: string;
  readonly machine: Machine;
}): Promise<Control> {
  const path = join(options.dir, "control.sock");
  const server = createServer((socket) => receive(socket, (request) => answer(options.machine, request)));
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  const sockets = track(server);
  const qmPath = join(options.dir, "qm");
  await writeFile(`${qmPath}.cjs`, qmProgram(path));
  await writeFile(
    qmPath,
    `#!/bin/sh\nexec ${shellQuoted(process.execPath)} ${shellQuoted(`${qmPath}.cjs`)} "$@"\n`,
  );
  await chmod(qmPath, 0o700);
  return {
    path,
    qmPath,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function answer(machine: Machine, request: unknown): Promise<unknown> {
  if (typeof request !== "object" || request === null) return { error: "A request is a JSON object." };
  const asked = request as { do?: unknown; argv?: unknown; stdin?: unknown };
  switch (asked.do) {
    case "state": {
      const { pid, wedged, booted } = machine;
      return { power: pid === null ? "off" : "on", wedged, booted, pid };
    }
    case "wedge":
      return { ok: machine.wedge() };
    case "qm":
      if (!Array.isArray(asked.argv)) return { error: "qm needs argv." };
      return qm(machine, asked.argv.map(String), typeof asked.stdin === "string" ? asked.stdin : "");
    default:
      return { error: `There is no ${JSON.stringify(asked.do)} here; there are state, wedge and qm.` };
  }
}

function receive(socket: Socket, answerTo: (request: unknown) => Promise<unknown>): void {
  let text = "";
  let asked = false;
  socket.setEncoding("utf8");
  // Whoever asked may be gone before the answer comes; the answer then has no reader, and that is all.
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: string) => {
    text += chunk;
    if (text.length > requestBytesMax) return void socket.destroy();
    const end = text.indexOf("\n");
    if (end < 0 || asked) return;
    asked = true;
    void answerTo(parse(text.slice(0, end))).then((value) => socket.end(`${JSON.stringify(value)}\n`));
  });
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function track(server: Server): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

/** Plain CommonJS, since it stands alone in a folder without a package. */
function qmProgram(path: string): string {
  return `const { connect } = require("node:net");
const argv = process.argv.slice(2);
const stdin = argv[0] === "monitor" ? require("node:fs").readFileSync(0, "utf8") : "";
let text = "";
const socket = connect(${JSON.stringify(path)}, () => socket.write(JSON.stringify({ do: "qm", argv, stdin }) + "\\n"));
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
