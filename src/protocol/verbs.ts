/**
 * The closed grammar of the power path. A new Verb is one entry here, one case in host/, and golden cases in
 * test/cases/grammar that hold both to the same words.
 */
export interface VerbFacts {
  /** A mutating Verb touches the machine: it is an Operation, single flight, with Forensics first. */
  readonly mutating: boolean;
  /** What the machine must be seen to be afterwards; null where the answer itself is the goal. */
  readonly goal: "running" | "stopped" | null;
  /** One sentence for the person about to tap it. */
  readonly consequence: string;
}

export const verbs = {
  status: { mutating: false, goal: null, consequence: "Reads the state. Changes nothing." },
  forensics: { mutating: false, goal: null, consequence: "Gathers evidence. Changes nothing." },
  reset: {
    mutating: true,
    goal: "running",
    consequence:
      "Presses the reset button. What is not on disk inside the machine is lost. A stuck QEMU process stays stuck.",
  },
  stop: {
    mutating: true,
    goal: "stopped",
    consequence: "Pulls the plug. What is not on disk inside the machine is lost. The machine stays OFF.",
  },
  start: {
    mutating: true,
    goal: "running",
    consequence: "Switches the machine on. Nothing happens if it already runs.",
  },
  cycle: {
    mutating: true,
    goal: "running",
    consequence:
      "Pulls the plug, then starts a fresh QEMU process. What is not on disk inside the machine is lost. The cure for a stall.",
  },
} as const satisfies Record<string, VerbFacts>;

export type Verb = keyof typeof verbs;

export const verbNames = Object.keys(verbs).toSorted() as readonly Verb[];
export const mutatingVerbs = verbNames.filter((verb) => verbs[verb].mutating);

/** Exactly one of the words, byte for byte; everything else, near misses included, is no Verb. */
export function parseVerb(word: unknown): Verb | undefined {
  return typeof word === "string" && Object.hasOwn(verbs, word) ? (word as Verb) : undefined;
}
