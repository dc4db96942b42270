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

/**
 * What comes later brings its style inside its script: a style file of its own that was lost would not be asked for again, and
 * in the first load it would weigh on everybody. Adopted sheets need no leave of the page's policy.
 */
const laterWithItsStyle: Plugin = {
  name: "later-with-its-style",
  generateBundle: {
    order: "pre",
    handler(_, bundle) {
      const later = Object.values(bundle).find((file) => file.type === "chunk" && file.name === "later");
      if (later?.type !== "chunk") throw new Error("There is no chunk named later: look at src/web/pages.");
      const styles = [...(later.viteMetadata?.importedCss ?? [])];
      for (const name of styles) {
        const file = bundle[name];
        if (file?.type !== "asset") throw new Error(`The style ${name} is not in the bundle.`);
        const sheet = JSON.stringify(String(file.source).trim());
        later.code += `{const sheet=new CSSStyleSheet;sheet.replaceSync(${sheet});document.adoptedStyleSheets.push(sheet)}`;
        later.viteMetadata?.importedCss.delete(name);
        delete bundle[name];
      }
    },
  },
};

export default defineConfig({
  root: `${import.meta.dirname}/src/web`,
  plugins: [
    lexerOnly,
    laterWithItsStyle,
    svelte({
      configFile: false,
      compilerOptions: {
        runes: true,
        discloseVersion: false,
        // The name stands at every element that has a style: a long one costs 300 bytes of the first load.
        cssHash: ({ hash, filename }) => `s${hash(filename).slice(0, 4)}`,
      },
    }),
  ],
  build: {
    outDir: "../../dist/web",
    emptyOutDir: true,
    target: "es2023",
    // The policy of the page forbids data: in scripts and styles; files keep their own names instead.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
