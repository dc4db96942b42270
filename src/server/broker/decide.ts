import type { Mode } from "../../protocol/api.ts";
import { parseVerb, verbNames, verbs, type Verb } from "../../protocol/verbs.ts";
import type { Standing } from "./accounts.ts";
import type { Asked } from "./ask.ts";

export interface BrokerTarget {
  readonly name: string;
  /** The guest's account with privileges; null: no guest side is configured. */
  readonly privileged: Account | null;
  /** The guest's account that owns nothing; null: there is none. */
  readonly unprivileged: Account | null;
  readonly power: boolean;
}

interface Account {
  /** For Ssh. */
  readonly alias: string;
  readonly user: string;
}

export type Act =
  | {
      readonly kind: "guest";
      readonly target: string;
      readonly account: Account;
      readonly command: string;
      /** False: it is given nothing to read. */
      readonly stdin: boolean;
    }
  | { readonly kind: "power"; readonly target: string; readonly verb: Verb };

type GuestAct = Extract<Act, { kind: "guest" }>;

export type Decision =
  /** `by`: what must still hold when it is sent. In every mode may run what has no privilege and changes no machine. */
  | { readonly kind: "run"; readonly act: Act; readonly by: "every mode" | "autonomous mode" }
  /** It needs an Approval: `why` is for the Operator, in one sentence. */
  | { readonly kind: "ask"; readonly act: Act; readonly why: string }
  /** `target` and `account` as far as they were understood, for the record. */
  | {
      readonly kind: "refused";
      readonly target: string;
      readonly account: string;
      readonly sentence: string;
    };

export interface DecideDeps {
  /** The first Target is the default one. */
  readonly targets: readonly BrokerTarget[];
  /** Asked about accounts that are configured as owning nothing. */
  readonly standing: (target: string, alias: string) => Promise<Standing>;
  /** One sentence when agents have used up their share of mutating Verbs on the Target. */
  readonly overShare: (target: string) => string | null;
  /** The same of forensics. */
  readonly overForensics: (target: string) => string | null;
}

type Refused = (sentence: string) => Decision;

/** Privilege belongs to the account, never to the command's text. */
export async function decide(asked: Asked, mode: Mode, deps: DecideDeps): Promise<Decision> {
  if (asked.kind === "unclear")
    return { kind: "refused", target: asked.alias ?? "", account: "", sentence: asked.sentence };
  const { alias, user, command, stdin } = asked;
  const found = find(alias, deps.targets);
  const refused = (sentence: string): Decision => ({
    kind: "refused",
    target: found?.target.name ?? alias,
    account: user ?? "",
    sentence,
  });
  if (found === null)
    return refused(`there is no machine "${alias}" here. There are: ${names(deps.targets).join(", ")}.`);
  return found.side === "power"
    ? power(found.target, command, mode, deps, refused)
    : guest(found.target, user, { command, stdin }, mode, deps, refused);
}

async function guest(
  { name, privileged, unprivileged }: BrokerTarget,
  user: string | null,
  asked: Pick<GuestAct, "command" | "stdin">,
  mode: Mode,
  { standing }: DecideDeps,
  refused: Refused,
): Promise<Decision> {
  if (privileged === null)
    return refused(`no account on ${name} is configured, so that no command can run there.`);
  const as = (account: Account): Act => ({ kind: "guest", target: name, account, ...asked });
  const ask = (account: Account, why: string): Decision => ({ kind: "ask", act: as(account), why });
  const named = user === null ? null : accountOf(user, privileged, unprivileged);
  if (user !== null && named === null) {
    const accounts = [privileged, ...(unprivileged ? [unprivileged] : [])].map((account) => account.user);
    return refused(`the account "${user}" on ${name} is not configured. There are: ${accounts.join(", ")}.`);
  }
  if (mode === "autonomous") return { kind: "run", act: as(named ?? privileged), by: "autonomous mode" };
  const account = named ?? unprivileged ?? privileged;
  if (account === unprivileged) {
    const shown = await standing(name, account.alias);
    if (shown.kind === "owns_nothing") return { kind: "run", act: as(account), by: "every mode" };
    return ask(account, doubt(account.user, name, shown));
  }
  if (named !== null && mode === "observe") {
    return refused(
      `the mode is observe, in which nothing runs on the privileged account of ${name}. Nothing was run: use ssh ${name} for what needs no privilege, and tell the operator which command you recommend and why.`,
    );
  }
  const only = unprivileged === null ? ", and there is no other" : "";
  return ask(account, `The account ${account.user} on ${name} is privileged${only}.`);
}

function accountOf(user: string, privileged: Account, unprivileged: Account | null): Account | null {
  if (user === unprivileged?.user) return unprivileged;
  return user === "root" || user === privileged.user ? privileged : null;
}

function doubt(user: string, target: string, shown: Exclude<Standing, { kind: "owns_nothing" }>): string {
  return shown.kind === "privileged"
    ? `The account ${user} on ${target} should own nothing, but is privileged: ${shown.because}`
    : `The account ${user} on ${target} could not be shown to own nothing: ${shown.because}`;
}

function power(
  { name, power }: BrokerTarget,
  command: string,
  mode: Mode,
  { overShare, overForensics }: DecideDeps,
  refused: Refused,
): Decision {
  if (!power) return refused(`no hypervisor is configured for ${name}, so that no verb can be sent.`);
  const verb = parseVerb(command.trim());
  if (verb === undefined)
    return refused(`the hypervisor answers nothing but the verbs ${verbNames.join(", ")}, one at a time.`);
  const act: Act = { kind: "power", target: name, verb };
  if (!verbs[verb].mutating) {
    const used = verb === "forensics" ? overForensics(name) : null;
    return used === null ? { kind: "run", act, by: "every mode" } : refused(used);
  }
  switch (mode) {
    case "observe":
      return refused(
        `${verb} changes the machine, and the mode is observe. Nothing was sent: tell the operator what you recommend and why, the buttons on the page do it.`,
      );
    case "supervised":
      return { kind: "ask", act, why: `${verb} changes the machine.` };
    case "autonomous": {
      const used = overShare(name);
      return used === null ? { kind: "run", act, by: "autonomous mode" } : { kind: "ask", act, why: used };
    }
  }
}

function find(
  alias: string,
  targets: readonly BrokerTarget[],
): { target: BrokerTarget; side: "guest" | "power" } | null {
  for (const target of targets) {
    if (alias === target.name) return { target, side: "guest" };
    if (alias === `${target.name}-power`) return { target, side: "power" };
  }
  const [first] = targets;
  if (first !== undefined && alias === "devvm") return { target: first, side: "guest" };
  if (first !== undefined && alias === "pve") return { target: first, side: "power" };
  return null;
}

function names(targets: readonly BrokerTarget[]): string[] {
  return targets.flatMap(({ name, privileged, power }, index) => [
    ...(privileged ? [name] : []),
    ...(power ? [index === 0 ? "pve" : `${name}-power`] : []),
  ]);
}
