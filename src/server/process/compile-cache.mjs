import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// TypeScript that was stripped and compiled once is not compiled again. Imported before anything else, and by entries in
// plain JavaScript: an entry in TypeScript would load the compiler for itself, which takes longer than all the rest.
// In our own folder: whoever could write to a shared one could run code in this process.
enableCompileCache(
  fileURLToPath(new URL("../../../node_modules/.cache/breakglass-compile", import.meta.url)),
);
