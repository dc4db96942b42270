import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

/** Where `npm run dev` finds the server: the default of BREAKGLASS_LISTEN. */
const server = "http://127.0.0.1:8080";

export default defineConfig({
  root: `${import.meta.dirname}/src/web`,
  plugins: [svelte({ configFile: false, compilerOptions: { runes: true } })],
  build: {
    outDir: "../../dist/web",
    emptyOutDir: true,
    target: "es2023",
    // The policy of the page forbids data: in scripts and styles; files keep their own names instead.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": server, "/rescue": server, "/health": server } },
});
