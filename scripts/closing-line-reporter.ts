import { DefaultReporter } from "vitest/node";

/** Vitest's own output, then the one line that every runner understands. What failed to load has failed. */
export default class ClosingLineReporter extends DefaultReporter {
  override onTestRunEnd(
    ...[modules, unhandledErrors, reason]: Parameters<DefaultReporter["onTestRunEnd"]>
  ): void {
    super.onTestRunEnd(modules, unhandledErrors, reason);
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      count.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        count[state === "pending" ? "failed" : state] += 1;
      }
    }
    const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed${skipped}\n`);
  }
}
