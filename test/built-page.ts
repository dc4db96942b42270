import { execFileSync } from "node:child_process";

/** Builds the page where it is older than its source, as `npm start` does: a blink otherwise. */
export default function buildPage(): void {
  execFileSync(process.execPath, ["scripts/setup.mjs", "start"], { stdio: ["ignore", "inherit", "inherit"] });
}
