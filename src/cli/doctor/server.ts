import { access } from "node:fs/promises";
import { connect } from "node:net";
import type { Config } from "../../server/config/config.ts";
import { controlPaths } from "../control.ts";
import { ok, type Check } from "./check.ts";

/** Whether a server runs: for the reader. Everything here works beside it, and without it. */
export async function checkServer(config: Config): Promise<Check> {
  for (const path of controlPaths(config))
    if (await answers(path)) return ok("server", `one runs, and answers at ${path}`);
  return ok("server", `none runs on ${config.dataDir}; what follows does not need one`);
}

async function answers(path: string): Promise<boolean> {
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (!there) return false;
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });
}
