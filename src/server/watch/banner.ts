import { connect } from "node:net";
import type { GuestSight } from "./judge.ts";

const bannerBytesMax = 4 * 1024;

/**
 * Connects and waits for an SSH identification string (RFC 4253, section 4.2). A bare TCP connect is no proof of life:
 * a kernel, a port forward or a hypervisor's user network accepts for a dead guest too.
 */
export function readBanner(host: string, port: number, timeoutMs: number): Promise<GuestSight> {
  return new Promise((resolve) => {
    let connected = false;
    let text = "";
    const socket = connect({ host, port });
    const settle = (sight: GuestSight) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(sight);
    };
    const timer = setTimeout(() => {
      const seconds = timeoutMs / 1000;
      if (connected) settle({ kind: "silent", seen: `connected, but no SSH banner within ${seconds} s` });
      else settle({ kind: "unreachable", seen: `no connection within ${seconds} s` });
    }, timeoutMs);
    socket.on("connect", () => (connected = true));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      const banner = /^SSH-2\.0-[^\r\n]*/m.exec(text)?.[0];
      if (banner !== undefined && text.includes("\n")) settle({ kind: "answers", seen: printable(banner) });
      else if (text.length > bannerBytesMax)
        settle({ kind: "silent", seen: "answered with something that is not SSH" });
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const refused = error.code === "ECONNREFUSED" ? "connection refused" : error.message;
      settle({ kind: connected ? "silent" : "unreachable", seen: refused });
    });
    socket.on("close", () =>
      settle({ kind: "silent", seen: "connected, then closed without an SSH banner" }),
    );
  });
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 120);
}
