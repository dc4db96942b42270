import type { Socket } from "node:net";
import ssh2 from "ssh2";
import type { AuthContext, Connection, ServerChannel } from "ssh2";
import type { Keys } from "./keys.ts";

export interface DoorOptions {
  readonly hostKey: Keys;
  /** The one public key that opens, and for which accounts. */
  readonly publicKey: string;
  readonly users: readonly string[];
  /** Runs one command; must end the channel. */
  readonly onExec: (user: string, command: string, channel: ServerChannel) => void;
}

/** Connections at once; a further one is closed. */
const connectionsMax = 32;

/** An SSH server that lets one key in and runs commands: no shell, pty, file transfer, forwarding or environment. */
export function makeDoor(options: DoorOptions): { enter(socket: Socket): void; closeAll(): void } {
  const sockets = new Set<Socket>();
  const server = new ssh2.Server(
    { hostKeys: [options.hostKey.privateKey], ident: "OpenSSH_9.2p1" },
    (client) => {
      // A client may break off at any moment; that ends its connection and nothing else.
      client.on("error", () => {});
      let user = "";
      client.on("authentication", (attempt) => {
        if (!isOurKey(attempt, options)) return attempt.reject(["publickey"]);
        user = attempt.username;
        attempt.accept();
      });
      client.on("ready", () => serve(client, (command, channel) => options.onExec(user, command, channel)));
    },
  );
  return {
    enter(socket) {
      if (sockets.size >= connectionsMax) return void socket.destroy();
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      server.injectSocket(socket);
    },
    closeAll() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function isOurKey(attempt: AuthContext, { publicKey, users }: DoorOptions): boolean {
  if (attempt.method !== "publickey" || !users.includes(attempt.username)) return false;
  const ours = ssh2.utils.parseKey(publicKey);
  if (ours instanceof Error) throw ours;
  if (attempt.key.algo !== ours.type || !attempt.key.data.equals(ours.getPublicSSH())) return false;
  // Without a signature the client only asks whether the key would do.
  if (attempt.signature === undefined || attempt.blob === undefined) return true;
  // Typed as a boolean, it answers an Error when the cryptography throws; and an Error is truthy.
  const valid: unknown = ours.verify(attempt.blob, attempt.signature, attempt.hashAlgo);
  return valid === true;
}

function serve(client: Connection, onExec: (command: string, channel: ServerChannel) => void): void {
  client.on("session", (accept) => {
    const session = accept();
    session.on("exec", (acceptExec, _reject, { command }) => {
      const channel = acceptExec();
      // Writing to a client that has gone is no error of ours.
      channel.on("error", () => {});
      channel.stderr.on("error", () => {});
      onExec(command, channel);
    });
    // Everything else is refused: ssh2 rejects what nobody listens for.
  });
}
