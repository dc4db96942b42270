import "./process/compile-cache.mjs";
import { flushCompileCache } from "node:module";
import { networkInterfaces } from "node:os";

// A disk that hangs holds threads; with Node's four, DNS and reads of healthy files would wait behind it.
process.env["UV_THREADPOOL_SIZE"] ??= "12";
const { serve } = await import("./serve.ts");
await serve({
  env: process.env,
  wantsDemo: process.argv.includes("--demo"),
  ownAddresses: Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address),
  ),
});
// Now, not at the end: a server is not always let end.
flushCompileCache();
