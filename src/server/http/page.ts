import { existsSync } from "node:fs";
import { relative } from "node:path";
import { serveStatic } from "@hono/node-server/serve-static";
import { Hono } from "hono";
import type { Env } from "./env.ts";

/** The built page, with its precompressed twins. What has a hash in its name never changes; the rest is asked for again. */
export function pageRoutes(folder: string): Hono<Env> {
  const routes = new Hono<Env>();
  if (!existsSync(`${folder}/index.html`)) {
    routes.get("/", (c) =>
      c.text(`The page is not built: run "npm run build", then load this again. The API works.\n`, 503),
    );
    return routes;
  }
  routes.use(
    "*",
    serveStatic({
      root: folder,
      precompressed: true,
      onFound: (path, c) => {
        const isHashed = relative(folder, path).startsWith("assets/");
        c.header("Cache-Control", isHashed ? "public, max-age=31536000, immutable" : "no-cache");
        c.header("Vary", "Accept-Encoding");
      },
    }),
  );
  return routes;
}
