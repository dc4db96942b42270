import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

// TypeScript that was stripped and compiled once is not compiled again. Imported before anything else, and by entries in
// plain JavaScript: one in TypeScript would load what strips the types for itself alone, at every start (docs/adr/0013).
// In our own folder: whoever could write to a shared one could run code in this process.
enableCompileCache(
  fileURLToPath(new URL("../../../node_modules/.cache/breakglass-compile", import.meta.url)),
);
