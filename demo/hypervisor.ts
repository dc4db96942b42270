import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import type { ServerChannel } from "ssh2";
import { start, type Running } from "../src/server/process/start.ts";
import { endProcesses } from "./processes.ts";
import { makeDoor } from "./ssh/door.ts";
import { makeKeys } from "./ssh/keys.ts";
import { config as machineConfig } from "./vm/qm.ts";

/** The real forced command, as it is installed on a real host. */
const forcedCommand = join(import.meta.dirname, "../host/breakglass-host");
/** Thousandths of what the forced command waits between two acts: a cycle takes some four seconds here. */
const pauses = 300;
/** Forced commands at once; a further one is told so. */
const callsMax = 16;

export interface HypervisorOptions {
  readonly dir: string;
  readonly user: string;
  readonly vmid: number;
  readonly publicKey: string;
  readonly qmPath: string;
}

/** The demo's hypervisor, over the pid file, monitor and configuration that lie in its folder: a real SSH server whose one key runs the real `host/breakglass-host` over the demo's qm. */
export async function startHypervisor(options: HypervisorOptions) {
  const { dir, user, vmid } = options;
  // As under /etc/pve: this node is called as its host is, and the machine lives here.
  const here = join(dir, "nodes", hostname().split(".")[0]!, "qemu-server");
  await mkdir(here, { recursive: true });
  await writeFile(join(here, `${vmid}.conf`), machineConfig);
  const config = join(dir, "breakglass-host.conf");
  await writeFile(
    config,
    [
      `qm=${options.qmPath}`,
      `pidfile=${join(dir, "%s.pid")}`,
      `qmp=${join(dir, "%s.qmp")}`,
      `nodes=${join(dir, "nodes")}`,
      `run=${join(dir, "run")}`,
      `state=${join(dir, "state")}`,
      `log=${join(dir, "breakglass-host.log")}`,
      `pauses=${pauses}`,
      "",
    ].join("\n"),
  );
  const hostKey = makeKeys();
  const calls = new Set<Running>();

  const onExec = (_user: string, command: string, channel: ServerChannel) => {
    if (calls.size >= callsMax) {
      channel.stderr.write("The demo's hypervisor has too many calls under way.\n");
      return end(channel, 255);
    }
    const call = start({
      file: forcedCommand,
      args: ["--config", config, String(vmid)],
      env: {
        PATH: "/usr/bin:/bin",
        SSH_ORIGINAL_COMMAND: command,
        SSH_CONNECTION: "127.0.0.1 0 127.0.0.1 0",
      },
    });
    calls.add(call);
    call.stdout.pipe(channel, { end: false });
    call.stderr.pipe(channel.stderr, { end: false });
    // As sshd does it: whoever hangs up takes the pipes along, and the job goes on without them.
    channel.once("close", () => {
      call.stdout.destroy();
      call.stderr.destroy();
    });
    void settle(call, channel);
  };
  const settle = async (call: Running, channel: ServerChannel) => {
    const exit = await call.exit;
    calls.delete(call);
    if (exit.kind !== "exited")
      channel.stderr.write(`The forced command did not end by itself: ${describe(exit)}.\n`);
    end(channel, exit.kind === "exited" ? exit.code : 255);
  };

  const door = makeDoor({ hostKey, publicKey: options.publicKey, users: [user], onExec });
  const listener = createServer((socket) => door.enter(socket));
  await new Promise<void>((resolve, reject) =>
    listener.once("error", reject).listen(0, "127.0.0.1", resolve),
  );
  return {
    port: (listener.address() as AddressInfo).port,
    hostKey: hostKey.publicKey,
    async close() {
      door.closeAll();
      await new Promise((resolve) => listener.close(resolve));
      for (const call of calls) call.kill("SIGKILL");
      await Promise.all([...calls].map((call) => call.exit));
      // A job outlives its call; what carries it out is known by the configuration that it was given.
      await endProcesses((words) => words.includes(config));
    },
  };
}

function end(channel: ServerChannel, code: number): void {
  if (channel.writable) channel.exit(code);
  channel.end();
}

function describe(
  exit:
    | { readonly kind: "signalled"; readonly signal: string }
    | { readonly kind: "not_started"; readonly error: Error },
) {
  return exit.kind === "signalled" ? exit.signal : exit.error.message;
}
