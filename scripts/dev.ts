import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "vite";

/** The page reloads as it is edited, the server starts anew when a file of it changes; both end with this. */
const listen = "127.0.0.1:8080";
// The page's own Host goes through: the server compares it with the origin that the browser names.
const api = { target: `http://${listen}`, changeOrigin: false };
const page = await createServer({
  server: {
    host: "127.0.0.1",
    port: 5173,
    proxy: { "/api": api, "/health": api },
  },
});
// Before the server starts: a page that cannot listen leaves nothing behind.
await page.listen();
const server = spawn(
  process.execPath,
  ["--watch", "--watch-preserve-output", "src/server/main.mjs", "--demo"],
  { env: { ...process.env, BREAKGLASS_LISTEN: listen }, stdio: ["ignore", "inherit", "inherit"] },
);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => server.kill());
process.stdout.write(
  `The page reloads at ${page.resolvedUrls?.local[0]}: open it with the link's part from #k= on at its end.\n`,
);
await once(server, "exit");
await page.close();
