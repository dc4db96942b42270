import { readFileSync } from "node:fs";
import { z } from "zod";
import type { Config } from "../server/config/config.ts";
import { readConfig } from "../server/config/read.ts";
import { ask, controlPaths } from "./control.ts";

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
  const paths = controlPaths(config);
  for (const path of paths) {
    const link = await askForLink(path);
    if (link === null) continue;
    process.stdout.write(`${origin(config, link.port)}/#k=${link.link}\nIt works once, within 10 minutes.\n`);
    return 0;
  }
  process.stderr.write(
    `No server answers at ${paths[0]}. Start it, or run this as the account and with the BREAKGLASS_DATA_DIR that it runs with.\n`,
  );
  return 1;
}

const linkAnswer = z.object({ link: z.string(), port: z.number() });
type Link = z.infer<typeof linkAnswer>;

/** null when nobody listens there, or somebody whose answer is not ours. */
async function askForLink(socketPath: string): Promise<Link | null> {
  const answer = await ask(socketPath, "POST", "/link", { quietMs: answerMs }).catch(() => null);
  return linkAnswer.safeParse(answer?.body).data ?? null;
}

function origin({ publicUrl, listen: { host } }: Config, port: number): string {
  return publicUrl ?? `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
