import { connect } from "node:net";

export type MasterState =
  /** Nobody listens on the path. */
  | { readonly kind: "gone" }
  /** Somebody listens and says nothing: a stopped or stuck process. */
  | { readonly kind: "hung" }
  | { readonly kind: "alive"; readonly pid: number };

/** A healthy master answers in under a millisecond; one that takes longer than this is not trusted. */
const answerMsMax = 1_000;

const hello = 0x0000_0001;
const protocolVersion = 4;
const aliveCheck = 0x1000_0004;
const alive = 0x8000_0005;

/**
 * What `ssh -O check` asks, without the price of a process: hello, then an alive check (PROTOCOL.mux of OpenSSH).
 * It proves that the process answers, not that its line does.
 */
export function masterState(controlPath: string): Promise<MasterState> {
  return new Promise((resolve) => {
    const socket = connect(controlPath);
    let received: Buffer = Buffer.alloc(0);
    const settle = (state: MasterState) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(state);
    };
    const timer = setTimeout(() => settle({ kind: "hung" }), answerMsMax);
    socket.on("error", () => settle({ kind: "gone" }));
    socket.on("close", () => settle({ kind: "gone" }));
    socket.on("connect", () =>
      socket.write(Buffer.concat([message(hello, protocolVersion), message(aliveCheck, 0)])),
    );
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      for (let length; received.length >= 4 && received.length >= 4 + (length = received.readUInt32BE(0));) {
        const body = received.subarray(4, 4 + length);
        if (body.length >= 12 && body.readUInt32BE(0) === alive)
          settle({ kind: "alive", pid: body.readUInt32BE(8) });
        received = received.subarray(4 + length);
      }
    });
  });
}

function message(...words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 + 4 * words.length);
  bytes.writeUInt32BE(4 * words.length, 0);
  words.forEach((word, index) => bytes.writeUInt32BE(word, 4 + 4 * index));
  return bytes;
}
