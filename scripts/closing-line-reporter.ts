import { DefaultReporter } from "vitest/node";
import { skippedFiles } from "./needs.ts";

/** Vitest's own output, then the one line that every runner understands. What failed to load has failed. */
export default class ClosingLineReporter extends DefaultReporter {
  override onTestRunEnd(
    ...[modules, unhandledErrors, reason]: Parameters<DefaultReporter["onTestRunEnd"]>
  ): void {
    super.onTestRunEnd(modules, unhandledErrors, reason);
    const leftOut = skippedFiles(process.env);
    const count = { passed: 0, failed: unhandledErrors.length, skipped: leftOut.length };
    for (const module of modules) {
      count.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        count[state === "pending" ? "failed" : state] += 1;
      }
    }
    for (const { file, missing } of leftOut) {
      process.stdout.write(`skipped: ${file} needs ${missing.join(", ")}\n`);
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed${skipped}\n`);
  }
}
