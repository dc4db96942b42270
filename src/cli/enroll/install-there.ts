import { execFileSync, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readLine } from "./terminal.ts";

export const hostFolder = fileURLToPath(new URL("../../../host/", import.meta.url));

/** `user@host` or `ssh://user@host:port`; nothing that ssh or a shell could take for something else. */
export function isLogin(text: string): boolean {
  return /^(ssh:\/\/)?[A-Za-z0-9_][A-Za-z0-9_.:@[\]-]{0,200}$/.test(text);
}

/**
 * Runs a program of host/ on another machine over the Operator's own ssh: with their configuration, keys and agent, and
 * their terminal for what ssh asks. All goes over one connection: on its stdin come the files, the public key, and then
 * the Operator's answer to what the program asks. `args` may hold nothing that a shell would unfold.
 */
export async function installThere(there: {
  readonly login: string;
  readonly program: "install" | "guest-accounts";
  readonly publicKey: string;
  readonly args: readonly string[];
}): Promise<boolean> {
  const { login, program, publicKey, args } = there;
  const files = execFileSync("tar", ["-C", hostFolder, "-czf", "-", "."], { maxBuffer: filesBytesMax });
  const run = `bash "$d/${program}" --key - ${args.map((arg) => `"${arg}"`).join(" ")}`;
  // `head` takes these bytes and not one more: what follows is for the program.
  const script =
    `d=$(mktemp -d) && head -c ${files.length} | tar -xzf - -C "$d" && ` +
    `{ if [ "$(id -u)" = 0 ]; then ${run}; else sudo -n ${run}; fi; code=$?; rm -rf "$d"; exit "$code"; }`;
  // In our own session, unlike all that the server starts: ssh asks for passwords on the terminal.
  const child = spawn("ssh", ["-T", "--", login, `sh -c '${script}'`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // Its exit code tells that it went away.
  child.stdin.on("error", () => {});
  child.stdin.write(files);
  child.stdin.write(`${publicKey}\n`);
  let heard = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    process.stdout.write(text);
    heard = (heard + text).slice(-question.length);
    // Not before: until it has logged in the terminal is ssh's.
    if (heard === question) void readLine().then((answer) => child.stdin.end(`${answer}\n`));
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code === 0));
  });
}

/** How both programs end when they ask. */
const question = "Do it? [y/N] ";
/** What lies in host/ is some 100 kB. */
const filesBytesMax = 16 * 1024 * 1024;
