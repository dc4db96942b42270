import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Short to read and long to run. Begun last, as Vitest does with small files, one of them runs on when all others have ended. */
const long = /test\/(faults\/(server-killed|line)|house\/checks|ways\/look|agent\/memory)\.test\.ts$/;

/** The largest files first, as ever, but before them those that take long. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => Number(long.test(b.moduleId)) - Number(long.test(a.moduleId)));
  }
}
