import type { Agent, TurnEnd, TurnRequest } from "../../src/server/agent/agent.ts";

/** An agent that does what the test says, for tests of what stands above it. */
export function scriptedAgent(
  turn: (request: TurnRequest) => Promise<TurnEnd>,
): Agent & { readonly released: string[] } {
  const released: string[] = [];
  return {
    isolation: () => ({ kind: "none", says: "Not confined." }),
    problem: () => null,
    turn,
    release: async (session) => void released.push(session),
    close: async () => {},
    released,
  };
}

/** Resolves when Stop was pressed. */
export function stopped({ signal }: TurnRequest): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
