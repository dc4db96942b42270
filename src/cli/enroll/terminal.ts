import { stdin, stdout } from "node:process";

export function say(text: string): void {
  stdout.write(`${text}\n`);
}

/** Anything but a yes is a no, the end of the input too. */
export async function agreed(question: string): Promise<boolean> {
  stdout.write(`${question} [y/N] `);
  const answer = await readLine();
  if (!stdin.isTTY) stdout.write("\n");
  return /^y(es)?$/i.test(answer.trim());
}

let rest = "";

/** One line of the Operator's. Between two of them nothing is read: the terminal is ssh's then, which asks on it for passwords. */
export async function readLine(): Promise<string> {
  stdin.setEncoding("utf8");
  while (!rest.includes("\n")) {
    const chunk = await nextChunk();
    if (chunk === null) break;
    rest += chunk;
  }
  const [line = ""] = rest.split("\n", 1);
  rest = rest.slice(line.length + 1);
  return line;
}

function nextChunk(): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const onData = (chunk: string) => resolve(chunk);
  const onEnd = () => resolve(null);
  if (stdin.readableEnded) resolve(null);
  stdin.once("data", onData).once("end", onEnd);
  stdin.resume();
  return promise.finally(() => {
    stdin.pause();
    stdin.off("data", onData).off("end", onEnd);
  });
}
