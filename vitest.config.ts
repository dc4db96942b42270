import { defineConfig } from "vitest/config";
import { LongFirst } from "./scripts/long-first.ts";
import { skippedFiles } from "./scripts/needs.ts";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: skippedFiles(process.env).map(({ file }) => file),
    // A page that is older than its source would be tested instead of it.
    globalSetup: "test/built-page.ts",
    // Node's own type stripping: tests run what production runs.
    experimental: { viteModuleRunner: false },
    // As there, what was stripped and compiled once is not compiled again for each file.
    execArgv: ["--import", "./src/server/process/compile-cache.mjs"],
    // Real processes on two shared cores: these bounds end what hangs, they time nothing.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 4,
    sequence: { sequencer: LongFirst },
    reporters: ["./scripts/closing-line-reporter.ts"],
  },
});
