import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { ServerChannel } from "ssh2";
import { makeDoor } from "../ssh/door.ts";
import { makeKeys } from "../ssh/keys.ts";
import type { Machine } from "../vm/machine.ts";
import { root } from "./commands/system.ts";
import type { Account, Guest } from "./guest.ts";
import { runLine } from "./shell.ts";
import { readSent, UnderWay } from "./under-way.ts";

export const observer: Account = { name: "observe", uid: 1001, home: "/home/observe" };

/** Connections that are accepted and never greeted, while the machine is wedged; a further one is closed. */
const silentMax = 64;
/** Of one command's stdin; more is refused. */
const stdinBytesMax = 1024 * 1024;
/** Somebody else may have taken the port while the machine was off: tried again after this long. */
const listenAgainMs = 250;

/**
 * The guest's side of the network. Off or booting: connection refused. Up: an SSH server over the simulated shell.
 * Wedged: TCP is accepted and no banner ever comes, as with a stalled disk under a real sshd; commands under way hang.
 */
export async function startGuestDoor(options: {
  readonly guest: Guest;
  readonly machine: Machine;
  readonly publicKey: string;
}) {
  const { guest, machine } = options;
  const hostKey = makeKeys();
  const accounts = [root, observer];
  const silent = new Set<Socket>();
  const underWay = new UnderWay();
  let port = 0;
  let listener: Server | null = null;
  let ended = false;

  const answer = async (account: Account, sent: string, channel: ServerChannel) => {
    const { bootId } = guest;
    const asked = readSent(sent);
    const ran =
      asked.kind === "ends"
        ? await underWay.end(asked.mark)
        : await underWay
            .run(asked.mark, (signal) =>
              runLine(guest, account, asked.command, { stdin: () => readAll(channel), signal }),
            )
            .catch((error: unknown) => {
              // A fault of the demo's own costs its answer and is told to whoever asked.
              return { out: "", err: `The demo machine failed: ${(error as Error).message}\n`, code: 125 };
            });
    // A stalled or a freshly booted machine has no answer to an old question.
    if (machine.wedged || !machine.booted || guest.bootId !== bootId) return;
    channel.stderr.write(ran.err);
    channel.write(ran.out);
    if (ran.code === 137) channel.exit("KILL");
    else channel.exit(ran.code);
    channel.end();
    // What came in and nobody read must not keep the channel from closing.
    channel.resume();
  };
  const onExec = (user: string, command: string, channel: ServerChannel) => {
    void answer(
      accounts.find(({ name }) => name === user)!,
      command,
      channel,
    );
  };
  const door = makeDoor({
    hostKey,
    publicKey: options.publicKey,
    users: accounts.map(({ name }) => name),
    onExec,
  });

  const onConnection = (socket: Socket) => {
    if (!machine.wedged) return door.enter(socket);
    if (silent.size >= silentMax) return void socket.destroy();
    silent.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => silent.delete(socket));
    socket.resume();
  };

  const open = () =>
    new Promise<void>((resolve) => {
      if (listener !== null || ended || !machine.booted) return resolve();
      const server = createServer(onConnection);
      listener = server;
      server.once("error", () => {
        listener = null;
        setTimeout(() => void open(), listenAgainMs).unref();
        resolve();
      });
      server.listen(port, "127.0.0.1", () => {
        port = (server.address() as AddressInfo).port;
        resolve();
      });
    });
  const close = () => {
    listener?.close();
    listener = null;
    underWay.endAll();
    door.closeAll();
    for (const socket of silent) socket.destroy();
  };

  await open();
  return {
    port,
    hostKey: hostKey.publicKey,
    /** The machine has changed: opens or closes. */
    follow(): void {
      if (machine.booted) void open();
      else close();
    },
    close() {
      ended = true;
      close();
    },
  };
}

/** All of a command's stdin, as far as it came. Rejects with a sentence. */
function readAll(channel: ServerChannel): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return new Promise((resolve, reject) => {
    channel.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= stdinBytesMax) chunks.push(chunk);
      else reject(new Error(`it takes at most ${stdinBytesMax} bytes of input.`));
    });
    const end = () => {
      try {
        resolve(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
      } catch (error) {
        reject(new Error("it takes text only.", { cause: error }));
      }
    };
    channel.once("end", end).once("close", end);
    if (channel.readableEnded || channel.destroyed) end();
  });
}
