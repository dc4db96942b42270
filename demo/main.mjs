import "../src/server/process/compile-cache.mjs";

/**
 * The embedded target as a process of its own. Says one line of JSON (demo/ready.ts) when everything answers, and ends
 * when its stdin ends, so that it never outlives whoever started it.
 */
const { startDemo } = await import("./start.ts");
const demo = await startDemo();
let ending = false;
const end = () => {
  if (ending) return;
  ending = true;
  void demo.end().then(() => process.exit(0));
};
process.stdin.on("end", end).on("close", end).on("error", end).resume();
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, end);
// Whoever started us may be gone before the line is read; our stdin tells.
process.stdout.on("error", end);
process.stdout.write(`${JSON.stringify(demo.ready)}\n`);
