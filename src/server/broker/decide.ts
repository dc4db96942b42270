import type { Mode } from "../../protocol/api.ts";
import { parseVerb, verbNames, verbs, type Verb } from "../../protocol/verbs.ts";
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

export type Decision =
  | {
      readonly kind: "guest";
      readonly target: string;
      readonly account: Account;
      readonly command: string;
      /** False: it is given nothing to read. */
      readonly stdin: boolean;
    }
  | { readonly kind: "power"; readonly target: string; readonly verb: Verb }
  /** `target` and `account` as far as they were understood, for the record. */
  | {
      readonly kind: "refused";
      readonly target: string;
      readonly account: string;
      readonly sentence: string;
    };

/** The first Target is the default one. Privilege belongs to the account, never to the command's text. */
export function decide(asked: Asked, mode: Mode, targets: readonly BrokerTarget[]): Decision {
  if (asked.kind === "unclear")
    return { kind: "refused", target: asked.alias ?? "", account: "", sentence: asked.sentence };
  const { alias, user, command, stdin } = asked;
  const found = find(alias, targets);
  const refused = (sentence: string): Decision => ({
    kind: "refused",
    target: found?.target.name ?? alias,
    account: user ?? "",
    sentence,
  });
  if (found === null)
    return refused(`there is no machine "${alias}" here. There are: ${names(targets).join(", ")}.`);
  return found.side === "power"
    ? power(found.target, command, mode, refused)
    : guest(found.target, user, { command, stdin }, mode, refused);
}

function guest(
  { name, privileged, unprivileged }: BrokerTarget,
  user: string | null,
  asked: { readonly command: string; readonly stdin: boolean },
  mode: Mode,
  refused: (sentence: string) => Decision,
): Decision {
  if (privileged === null)
    return refused(`no account on ${name} is configured, so that no command can run there.`);
  const run = (account: Account): Decision => ({ kind: "guest", target: name, account, ...asked });
  if (user !== null && user === unprivileged?.user) return run(unprivileged);
  const wantsPrivilege = user === "root" || user === privileged.user;
  if (user !== null && !wantsPrivilege) {
    const accounts = [privileged, ...(unprivileged ? [unprivileged] : [])].map((account) => account.user);
    return refused(`the account "${user}" on ${name} is not configured. There are: ${accounts.join(", ")}.`);
  }
  if (mode === "autonomous") return run(privileged);
  if (wantsPrivilege) {
    return refused(
      `the privileged account on ${name} is not open in ${mode} mode: each such command would need the operator's approval, and approvals are not built yet. ` +
        `Use ssh ${name} for what needs no privilege, and tell the operator which command to run and why.`,
    );
  }
  if (unprivileged === null) {
    return refused(
      `the only configured account on ${name} is privileged, and in ${mode} mode each of its commands would need the operator's approval, which is not built yet. ` +
        "Tell the operator which commands you need and why: they can run them, configure an unprivileged account (BREAKGLASS_OBSERVE_USER), or set BREAKGLASS_MODE=autonomous.",
    );
  }
  return run(unprivileged);
}

function power(
  { name, power }: BrokerTarget,
  command: string,
  mode: Mode,
  refused: (sentence: string) => Decision,
): Decision {
  if (!power) return refused(`no hypervisor is configured for ${name}, so that no verb can be sent.`);
  const verb = parseVerb(command.trim());
  if (verb === undefined)
    return refused(`the hypervisor answers nothing but the verbs ${verbNames.join(", ")}, one at a time.`);
  if (!verbs[verb].mutating || mode === "autonomous") return { kind: "power", target: name, verb };
  const mend =
    mode === "observe"
      ? "the mode is observe. Tell the operator what you recommend and why: the buttons on the page do it."
      : "in supervised mode it would need the operator's approval, and approvals are not built yet. Tell the operator what you recommend and why: the buttons on the page do it.";
  return refused(`${verb} changes the machine, and ${mend}`);
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
