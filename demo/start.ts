import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startGuestDoor, observer } from "./guest/door.ts";
import { Guest } from "./guest/guest.ts";
import { startHypervisor } from "./hypervisor.ts";
import { playbook } from "./model/playbook.ts";
import { startModel } from "./model/server.ts";
import type { DemoReady } from "./ready.ts";
import { makeKeys } from "./ssh/keys.ts";
import { openControl } from "./vm/control.ts";
import { Machine } from "./vm/machine.ts";

const vmid = 102;
/** The machine has been up for this long when the demo begins. */
const upForMs = 12.3 * 86_400_000;

export interface Demo {
  readonly ready: DemoReady;
  /** Ends every process, socket and file of the demo. */
  end(): Promise<void>;
}

/** Brings up the embedded target: a simulated VM behind two real SSH servers, and the model stand-in. Loopback only. */
export async function startDemo(options: { readonly bootMs?: number } = {}): Promise<Demo> {
  // 0700 by itself.
  const dir = await mkdtemp(join(tmpdir(), "breakglass-demo-"));
  const undo: (() => unknown)[] = [
    () => rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }),
  ];
  const end = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const keys = makeKeys();
    const privateKeyPath = join(dir, "id_ed25519");
    await writeFile(privateKeyPath, keys.privateKey, { mode: 0o600 });

    const guest = new Guest();
    let door: Awaited<ReturnType<typeof startGuestDoor>> | undefined;
    const machine = new Machine({
      vmid,
      pidFile: join(dir, `${vmid}.pid`),
      qmpPath: join(dir, `${vmid}.qmp`),
      onBoot: (boot) => guest.boot(boot),
      onChange: () => door?.follow(),
      ...options,
    });
    undo.push(() => machine.end());
    await machine.begin(new Date(Date.now() - upForMs));
    guest.fallIll();
    door = await startGuestDoor({ guest, machine, publicKey: keys.publicKey });
    undo.push(door.close);

    const control = await openControl({ dir, machine });
    undo.push(control.close);
    const hypervisor = await startHypervisor({
      dir,
      user: "breakglass",
      vmid,
      publicKey: keys.publicKey,
      qmPath: control.qmPath,
    });
    undo.push(hypervisor.close);
    const model = await startModel({ script: playbook });
    undo.push(model.close);

    const host = "127.0.0.1";
    return {
      ready: {
        guest: { host, port: door.port, user: "root", observeUser: observer.name, hostKey: door.hostKey },
        hypervisor: { host, port: hypervisor.port, user: "breakglass", hostKey: hypervisor.hostKey, vmid },
        privateKeyPath,
        modelUrl: model.url,
        controlPath: control.path,
      },
      end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}
