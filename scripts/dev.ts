import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "vite";

/** The page reloads as it is edited, the server starts anew when a file of it changes; both end with this. */
const apiPort = 8080;
const server = spawn(
  process.execPath,
  ["--watch", "--watch-preserve-output", "src/server/main.ts", "--demo"],
  {
    stdio: ["ignore", "inherit", "inherit"],
  },
);
const page = await createServer({
  server: { host: "127.0.0.1", port: 5173, proxy: { "/api": `http://127.0.0.1:${apiPort}` } },
});
await page.listen();
process.stdout.write(
  "The page reloads at http://127.0.0.1:5173: put the link's part from #k= on behind it.\n",
);
process.on("SIGINT", () => server.kill()).on("SIGTERM", () => server.kill());
await once(server, "exit");
await page.close();
