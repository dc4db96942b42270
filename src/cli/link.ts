import { request } from "node:http";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import { z } from "zod";
import { readConfig } from "../server/config/read.ts";
import type { Config } from "../server/config/config.ts";

/** The server answers at once or not at all. */
const answerMs = 5_000;

/** Asks the running server for a one-time link over its control socket, prints it, and answers the exit code. */
export async function printLink(env: NodeJS.ProcessEnv): Promise<number> {
  const { config } = await readConfig(env, (path) => readFileSync(path, "utf8"));
  if (config === null) {
    process.stderr.write(
      "The settings are not usable, so the server cannot be found. `npm run serve` says what is wrong.\n",
    );
    return 1;
  }
  const folders = config.nothingConfigured
    ? [join(config.dataDir, "demo"), config.dataDir]
    : [config.dataDir];
  for (const folder of folders) {
    const link = await askForLink(join(folder, "control.sock"));
    if (link === null) continue;
    process.stdout.write(`${origin(config, link.port)}/#k=${link.link}\nIt works once, within 10 minutes.\n`);
    return 0;
  }
  process.stderr.write(
    `No server answers at ${join(folders[0] ?? "", "control.sock")}. Start it, or run this as the account and with the BREAKGLASS_DATA_DIR that it runs with.\n`,
  );
  return 1;
}

const linkAnswer = z.object({ link: z.string(), port: z.number() });
type Link = z.infer<typeof linkAnswer>;

/** null when nobody listens there, or somebody whose answer is not ours. */
function askForLink(socketPath: string): Promise<Link | null> {
  return new Promise((resolve) => {
    const asking = request({ socketPath, path: "/link", method: "POST", timeout: answerMs }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      // Also after an answer that broke off.
      response.on("close", () => resolve(parseLink(text)));
    });
    asking.on("timeout", () => asking.destroy());
    asking.on("error", () => resolve(null));
    asking.end();
  });
}

function parseLink(text: string): Link | null {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return null;
  }
  return linkAnswer.safeParse(answer).data ?? null;
}

function origin({ publicUrl, listen: { host } }: Config, port: number): string {
  return publicUrl ?? `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
