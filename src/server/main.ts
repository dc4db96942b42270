import { enableCompileCache, flushCompileCache } from "node:module";
import { networkInterfaces } from "node:os";
import { fileURLToPath } from "node:url";

// A disk that hangs holds threads; with Node's four, DNS and reads of healthy files would wait behind it.
process.env["UV_THREADPOOL_SIZE"] ??= "12";
// Before anything else is loaded: what was compiled once is not compiled again.
// In our own folder: whoever could write to a shared one could run code in this process.
enableCompileCache(fileURLToPath(new URL("../../node_modules/.cache/breakglass-compile", import.meta.url)));
const { serve } = await import("./serve.ts");
await serve({
  env: process.env,
  wantsDemo: process.argv.includes("--demo"),
  ownAddresses: Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address),
  ),
});
flushCompileCache();
