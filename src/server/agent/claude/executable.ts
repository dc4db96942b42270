import { createRequire } from "node:module";

/** The agent's executable as it came with the SDK, in an optional package for this platform; undefined: it did not. */
export function findClaude(): string | undefined {
  // Asked from the SDK's own place: the package is a dependency of it, not of ours.
  const require = createRequire(import.meta.resolve("@anthropic-ai/claude-agent-sdk"));
  const name = `@anthropic-ai/claude-agent-sdk-${process.platform}-${process.arch}`;
  for (const candidate of [name, `${name}-musl`]) {
    try {
      return require.resolve(`${candidate}/claude`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  return undefined;
}
