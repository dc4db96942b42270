import type { Machine } from "./machine.ts";

export interface Answered {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** How long a stalled QEMU lets `qm stop` wait before it is ended by force. */
const escalationMs = 900;
/** The guest agent of a dead guest is given up after this long. */
const agentMs = 300;

/** One call of qm, in the words of Proxmox VE's own (qemu-server 9.2: PVE/CLI/qm.pm, PVE/QemuServer.pm). */
export async function qm(machine: Machine, argv: readonly string[]): Promise<Answered> {
  const [verb, ...rest] = argv;
  const guestCommand = verb === "guest" || verb === "agent";
  const id = verb === "guest" ? rest[1] : rest[0];
  if (verb === undefined || id === undefined || !/^\d+$/.test(id)) return fails("400 not enough arguments");
  if (Number(id) !== machine.vmid)
    return fails(`Configuration file 'nodes/demo/qemu-server/${id}.conf' does not exist`);
  const off = machine.pid === null;

  if (guestCommand) {
    if (machine.booted && !machine.wedged) return prints("");
    await new Promise((resolve) => setTimeout(resolve, agentMs));
    return fails(off ? `VM ${id} is not running` : "QEMU guest agent is not running");
  }
  switch (verb) {
    case "status":
      return prints(
        rest.includes("--verbose") ? verboseStatus(machine) : `status: ${off ? "stopped" : "running"}\n`,
      );
    case "config":
      return prints(config);
    case "pending":
      return prints(config.replaceAll(/^/gm, "cur ").replace(/cur $/, ""));
    case "start":
      return (await machine.powerOn()) ? prints("") : fails(`VM ${id} already running`);
    case "reset":
      return machine.reset() ? prints("") : fails(`VM ${id} not running`);
    case "stop": {
      const { wedged } = machine;
      if (wedged) await new Promise((resolve) => setTimeout(resolve, escalationMs));
      await machine.powerOff();
      return prints(wedged ? "VM quit/powerdown failed - terminating now with SIGTERM\n" : "");
    }
    default:
      return fails(`ERROR: unknown command 'qm ${verb}'`);
  }
}

/** The machine's configuration, as `qm config` shows it and as it lies under /etc/pve. */
export const config = `agent: 1
boot: order=scsi0
cores: 2
cpu: host
memory: 4096
name: devvm
net0: virtio=BC:24:11:5E:0A:66,bridge=vmbr0
onboot: 1
ostype: l26
scsi0: local-lvm:vm-102-disk-0,iothread=1,size=20G
scsihw: virtio-scsi-single
`;

/** `qm status --verbose`, its keys sorted; a QEMU whose disk stalls still answers here. */
function verboseStatus(machine: Machine): string {
  const facts: Record<string, string | number> = {
    cpus: 2,
    maxdisk: 21_474_836_480,
    maxmem: 4_294_967_296,
    name: "devvm",
    qmpstatus: machine.pid === null ? "stopped" : "running",
    status: machine.pid === null ? "stopped" : "running",
    uptime: machine.uptimeSeconds,
    vmid: machine.vmid,
    ...(machine.pid !== null && { pid: machine.pid }),
  };
  return Object.keys(facts)
    .toSorted()
    .map((key) => `${key}: ${facts[key]}\n`)
    .join("");
}

const prints = (out: string): Answered => ({ out, err: "", code: 0 });
/** Failed tasks end with 255 and their message on stderr. */
const fails = (message: string): Answered => ({ out: "", err: `${message}\n`, code: 255 });
