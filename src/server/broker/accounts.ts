import type { Clock } from "../clock.ts";
import { identityIn, identityQuestion, privileges } from "../ssh/identity.ts";
import type { Ssh, SshFinished } from "../ssh/ssh.ts";

/** What an account that is configured as owning nothing was seen to be. */
export type Standing =
  | { readonly kind: "owns_nothing" }
  /** `because`, in both: our own words, none of the guest's. */
  | { readonly kind: "privileged"; readonly because: string }
  /** Not to be taken for an account that owns nothing. */
  | { readonly kind: "unknown"; readonly because: string };

export interface Accounts {
  /** Asks the account, or tells what it was a moment ago. Never rejects. */
  standing(target: string, alias: string): Promise<Standing>;
  /** A sentence with its mend for every account that was last seen to be more than it should. */
  problems(): readonly string[];
}

/** An answer holds so long; then the account is asked again before anything runs on it. */
const standingMsMax = 5 * 60_000;
/** That there was none holds so long: a guest that is back should not be asked for Approvals. */
const unknownMsMax = 10_000;
/** For the answer, connecting included; then the standing is not known. */
const answerMsMax = 10_000;
/** Kept of the answer: an account may be in hundreds of groups. */
const answerBytesMax = 16 * 1024;

interface Seen {
  readonly target: string;
  readonly answer: Promise<Standing>;
  /** null while it is being asked. */
  standing: Standing | null;
  seenAt: number;
  holdsMs: number;
}

/** The accounts by which agents look at guests: privilege belongs to the account, and is seen, not believed. */
export function createAccounts({
  ssh,
  clock,
}: {
  readonly ssh: Pick<Ssh, "run">;
  readonly clock: Clock;
}): Accounts {
  const seen = new Map<string, Seen>();

  function ask(target: string, alias: string): Promise<Standing> {
    const question = [identityQuestion("lists")];
    const limits = { outputBytesMax: answerBytesMax, deadlineMs: answerMsMax };
    const answer = ssh.run(alias, question, limits).then(standingIn);
    const entry: Seen = { target, answer, standing: null, seenAt: 0, holdsMs: 0 };
    seen.set(alias, entry);
    void answer.then((standing) => {
      entry.standing = standing;
      entry.seenAt = clock.now().getTime();
      entry.holdsMs = standing.kind === "unknown" ? unknownMsMax : standingMsMax;
    });
    return answer;
  }

  return {
    async standing(target, alias) {
      const last = seen.get(alias);
      return last !== undefined && holds(last, clock.now()) ? last.answer : ask(target, alias);
    },
    problems() {
      return [...seen.values()].flatMap(({ target, standing }) =>
        standing?.kind === "privileged" ? [problem(target, standing.because)] : [],
      );
    },
  };
}

/** What was seen later than now was seen by a clock that has been set back. */
function holds({ standing, seenAt, holdsMs }: Seen, now: Date): boolean {
  const age = now.getTime() - seenAt;
  return standing === null || (age >= 0 && age < holdsMs);
}

function standingIn({ exit, stdout, deadlinePassed }: SshFinished): Standing {
  // Not the reason of ssh: the guest's own words may stand in it, and this is read out where an Operator decides.
  if (exit.kind === "not_sent") return { kind: "unknown", because: "it could not be reached." };
  const identity = identityIn(stdout);
  if (identity === null) {
    const because = deadlinePassed
      ? `it gave no answer within ${answerMsMax / 1_000} s.`
      : "it did not say who it is: its shell has to answer `id`.";
    return { kind: "unknown", because };
  }
  const [first, ...others] = privileges(identity);
  if (first === undefined) return { kind: "owns_nothing" };
  return { kind: "privileged", because: `it ${[first, ...others].join(", ")}` };
}

function problem(target: string, because: string): string {
  return `The account on ${target} that should own nothing is privileged: ${because}. Until that is mended, what agents run there needs an Approval. Take it out of that, or let \`breakglass enroll\` make one.`;
}
