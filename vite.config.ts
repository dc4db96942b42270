import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

/**
 * Of marked the page uses the Lexer. The file ends with an instance of all that it has, which keeps a bundler from leaving out
 * the half that makes HTML: it is cut off before that, a fifth of the whole.
 */
const lexerOnly: Plugin = {
  name: "marked-lexer-only",
  transform(code, id) {
    if (!id.endsWith("/marked/lib/marked.esm.js")) return undefined;
    const lexer = /(\w+) as Lexer\b/.exec(code)?.[1];
    const end = code.search(/var \w+=new \w+;function \w+\(\w+,\w+\)\{return \w+\.parse\(/);
    if (lexer === undefined || end < 0)
      throw new Error(
        "marked is another one than this was made for: look at its last lines, or drop this plugin.",
      );
    return { code: `${code.slice(0, end)}export { ${lexer} as Lexer };`, map: null };
  },
};

export default defineConfig({
  root: `${import.meta.dirname}/src/web`,
  plugins: [lexerOnly, svelte({ configFile: false, compilerOptions: { runes: true } })],
  build: {
    outDir: "../../dist/web",
    emptyOutDir: true,
    target: "es2023",
    // The policy of the page forbids data: in scripts and styles; files keep their own names instead.
    assetsInlineLimit: 0,
    // What comes later brings no style of its own: a style that was lost would not be asked for again.
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
