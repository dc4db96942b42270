import { z } from "zod";
import { hostResult } from "../../protocol/outcome.ts";
import type { Finished } from "../../server/process/run.ts";
import { identityIn, identityQuestion } from "../../server/ssh/identity.ts";
import type { Access } from "./access.ts";
import type { Account, Fact, Refusable } from "./facts.ts";

export interface Side {
  readonly account: Account;
  /** Only of a hypervisor: what `status` needs besides, and the VM ids that its key shall pin (null: one, whichever). */
  readonly vmid?: number;
  readonly expected?: readonly number[] | null;
}

/** Looks at everything for real, and changes nothing. An account that lets nobody in is asked nothing more. */
export async function* verify(access: Access, sides: readonly Side[]): AsyncGenerator<Fact> {
  const key = await access.key();
  yield { check: "key", problem: "problem" in key ? key.problem : null };
  if ("problem" in key) return;
  for (const side of sides) {
    yield* side.account.role === "hypervisor"
      ? lookAtHypervisor(access, side)
      : lookAtGuest(access, side.account);
  }
}

// --- the hypervisor ---------------------------------------------------------------------------------------------------

async function* lookAtHypervisor(
  access: Access,
  { account, vmid, expected = null }: Side,
): AsyncGenerator<Fact> {
  const { alias } = account;
  const hello = await access.ask(alias, { command: ["v2 hello"] });
  const problem = access.refusedLogin(alias, hello);
  yield { check: "login", account, problem };
  if (problem !== null) return;
  yield { check: "hello", account, told: helloIn(hello.stdout), expected, said: saidIn(hello) };
  yield refuses(account, "shell", ...(await asksForAShell(access, alias)));
  yield* refusesWays(access, account, "v2 hello");
  yield refuses(account, "sftp", await asksForSftp(access, alias));
  yield refuses(account, "scp", await asksForScp(access, alias));
  yield environmentFact(account, hello, await access.ask(alias, hostileEnvironment));
  const status = await access.ask(alias, { command: [vmid === undefined ? "status" : `status ${vmid}`] });
  yield {
    check: "status",
    account,
    code: status.exit.kind === "exited" ? status.exit.code : null,
    firstLine: status.stdout.split("\n")[0] ?? "",
    said: saidIn(status),
  };
}

const helloAnswer = z.object({ result: z.literal("done"), backend: z.string(), vmids: z.array(z.number()) });

function helloIn(stdout: string) {
  return helloAnswer.safeParse(hostResult(stdout)).data ?? null;
}

interface Seen {
  readonly seen: "refused" | "granted" | "unclear";
  readonly said: string;
}

/** Only the far side's shell can have worked this out. */
const sum = { asked: "echo breakglass-$((40 + 2))", answer: "breakglass-42" };

async function asksForAShell(access: Access, alias: string): Promise<readonly Seen[]> {
  const answers = [
    await access.ask(alias, { command: [sum.asked] }),
    await access.ask(alias, { command: [], input: `${sum.asked}\nexit\n` }),
  ];
  return answers.map((answer) => ({
    seen: answer.stdout.includes(sum.answer) ? "granted" : refusedByGate(answer) ? "refused" : "unclear",
    said: saidIn(answer),
  }));
}

/** By the program itself: where it cannot say where it is, it was let nowhere. */
async function asksForSftp(access: Access, alias: string): Promise<Seen> {
  const answer = await access.ask(alias, { program: "sftp", command: [], input: "pwd\n" });
  const said = saidIn(answer);
  if (answer.stdout.includes("Remote working directory")) return { seen: "granted", said };
  const closed = /Connection closed|message too long|subsystem request failed/i.test(answer.stderr);
  return { seen: closed ? "refused" : "unclear", said };
}

/** What scp asks of the far side; a NUL says "begin". */
async function asksForScp(access: Access, alias: string): Promise<Seen> {
  const answer = await access.ask(alias, { command: ["scp -f /etc/hostname"], input: "\0" });
  const said = saidIn(answer);
  if (/^C0\d{3} /.test(answer.stdout)) return { seen: "granted", said };
  return { seen: refusedByGate(answer) ? "refused" : "unclear", said };
}

function refusedByGate({ exit, stdout }: Finished): boolean {
  return exit.kind === "exited" && exit.code === 2 && hostResult(stdout)?.result === "refused";
}

/** A shell that obeyed BASH_ENV or ENV would read its first words from us, a Perl that obeyed PERL5OPT would not start. */
const hostileEnvironment = {
  options: [
    "-o",
    "SetEnv=BASH_ENV=/dev/stdin ENV=/dev/stdin PERL5OPT=-Mbreakglass_planted LC_ALL=zz LANG=zz",
  ],
  command: ["v2 hello"],
  input: `${sum.asked}\n`,
};

function environmentFact(account: Account, without: Finished, withIt: Finished): Fact {
  const said = saidIn(withIt);
  const same = JSON.stringify(helloIn(withIt.stdout)) === JSON.stringify(helloIn(without.stdout));
  const obeyed = withIt.stdout.includes(sum.answer) || (!same && withIt.exit.kind === "exited");
  const seen = obeyed ? "obeyed" : same ? "ignored" : "unclear";
  return { check: "environment", account, seen, said };
}

// --- both sides -------------------------------------------------------------------------------------------------------

/** What `restrict` in authorized_keys takes away, whatever the account may do otherwise. */
async function* refusesWays(access: Access, account: Account, harmless: string): AsyncGenerator<Fact> {
  const { alias } = account;
  const pty = await access.ask(alias, { options: ["-tt"], command: [harmless] });
  yield refuses(account, "pty", {
    // Only a terminal ends lines like this.
    seen: seenIn(pty, pty.stdout.includes("\r\n"), "PTY allocation request failed"),
    said: saidIn(pty),
  });
  // To a port where nobody listens: a far side that tried has granted it.
  const there = await access.ask(alias, { options: [...forwarding, "-W", "127.0.0.1:1"], command: [] });
  yield refuses(account, "forwarding", {
    seen: seenIn(
      there,
      there.stdout !== "" || there.stderr.includes("connect failed"),
      "administratively prohibited",
    ),
    said: saidIn(there),
  });
  const back = await access.ask(alias, {
    options: [...forwarding, "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1"],
    command: [harmless],
  });
  yield refuses(account, "remote forwarding", {
    seen: seenIn(back, back.stdout !== "", "remote port forwarding failed"),
    said: saidIn(back),
  });
}

/** Our own configuration asks for none, and why one is refused is only told at this level. */
const forwarding = ["-o", "ClearAllForwardings=no", "-o", "LogLevel=INFO"];

function seenIn({ stderr }: Finished, granted: boolean, refusal: string): Seen["seen"] {
  if (granted) return "granted";
  return stderr.includes(refusal) ? "refused" : "unclear";
}

/** Granted once is granted. */
function refuses(account: Account, what: Refusable, ...tries: readonly Seen[]): Fact {
  const worst =
    tries.find(({ seen }) => seen === "granted") ?? tries.find(({ seen }) => seen === "unclear") ?? tries[0]!;
  return { check: "refuses", account, what, ...worst };
}

/** The last words of an answer, for the Operator. */
function saidIn({ stdout, stderr, exit, deadlinePassed }: Finished): string {
  if (deadlinePassed) return "no answer in time";
  const lines = `${stdout}\n${stderr}`
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("BG1 "));
  const last = lines.at(-1)?.replace(/\p{C}/gu, "").trim().slice(0, 200);
  return last ?? (exit.kind === "exited" ? `nothing, and exit code ${exit.code}` : "nothing");
}

// --- the guest --------------------------------------------------------------------------------------------------------

async function* lookAtGuest(access: Access, account: Account): AsyncGenerator<Fact> {
  const question = identityQuestion(account.role === "observes" ? "lists" : "uses");
  const answer = await access.ask(account.alias, { command: [question] });
  const problem = access.refusedLogin(account.alias, answer);
  yield { check: "login", account, problem };
  if (problem !== null) return;
  yield { check: "identity", account, identity: identityIn(answer.stdout), said: saidIn(answer) };
  yield* refusesWays(access, account, "id");
}
