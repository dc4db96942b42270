import { readFileSync } from "node:fs";
import { z } from "zod";
import { visibleText } from "../protocol/visible.ts";
import { readConfig } from "../server/config/read.ts";
import { ask, controlPaths, detailOf, NobodyThere, type ControlAnswer } from "./control.ts";

/** The record of a freeze has 2 s; a server that says nothing for longer hangs. */
const quietMs = 10_000;

const print = (text: string) => void process.stdout.write(`${text}\n`);
const say = (sentence: string) => void process.stderr.write(`${visibleText(sentence)}\n`);

/** `breakglass freeze` and `breakglass thaw`: answers the exit code. */
export async function setFrozen(frozen: boolean, env: NodeJS.ProcessEnv): Promise<number> {
  const answer = await askServer(env, "POST", "/api/freeze", { frozen });
  const set = freezeAnswer.safeParse(answer?.body).data;
  if (answer === null || set === undefined) return failed(answer);
  const { frozen: now, durable } = set;
  print(
    now === null
      ? "Agents may work again."
      : `Frozen by ${visibleText(now.by)} at ${now.at}: no agent does anything until \`breakglass thaw\`. Verbs still work.`,
  );
  if (!durable) say("The disk did not confirm it: it holds until the server restarts. Look at that disk.");
  return durable ? 0 : 1;
}

/** `breakglass approvals`: shows what waits for an Operator, exactly. Answers the exit code. */
export async function showApprovals(env: NodeJS.ProcessEnv): Promise<number> {
  const answer = await askServer(env, "GET", "/api/approvals");
  const approvals = approvalsAnswer.safeParse(answer?.body).data;
  if (answer === null || approvals === undefined) return failed(answer);
  if (approvals.length === 0) print("Nothing waits for an approval.");
  for (const each of approvals) print(shown(each));
  return 0;
}

const freezeAnswer = z.object({
  frozen: z.object({ by: z.string(), at: z.string() }).nullable(),
  durable: z.boolean(),
});

const pendingApproval = z.object({
  approval: z.string(),
  session_id: z.string(),
  session_name: z.string(),
  target: z.string(),
  account: z.string(),
  command: z.string(),
  stdin: z.object({ bytes: z.number(), text: z.string().optional(), base64: z.string().optional() }),
  sha256: z.string(),
  expires_at: z.string(),
  why: z.string(),
});
const approvalsAnswer = z.array(pendingApproval);

function shown(approval: z.infer<typeof pendingApproval>): string {
  const { stdin } = approval;
  const lines = [
    `${visibleText(approval.target)} as ${visibleText(approval.account)}:`,
    indented(approval.command),
    visibleText(approval.why),
    `session   ${approval.session_id} (${visibleText(approval.session_name)})`,
    `approval  ${approval.approval}`,
    `sha256    ${approval.sha256}`,
    `expires   ${approval.expires_at}`,
  ];
  if (stdin.bytes > 0)
    lines.push(
      `stdin, ${stdin.bytes} bytes${stdin.text === undefined ? " (base64)" : ""}:`,
      indented(stdin.text ?? stdin.base64 ?? ""),
    );
  return `${lines.join("\n")}\n`;
}

/** Every line begins alike, so that none can pass for one of ours. */
function indented(text: string): string {
  return visibleText(text).replaceAll(/^/gm, "  | ");
}

/** null: no server answers, and that is said. */
async function askServer(
  env: NodeJS.ProcessEnv,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<ControlAnswer | null> {
  const { config } = await readConfig(env, (file) => readFileSync(file, "utf8"));
  if (config === null) {
    say("The settings are not usable, so the server cannot be found. `npm run serve` says what is wrong.");
    return null;
  }
  const sockets = controlPaths(config);
  for (const socket of sockets) {
    try {
      return await ask(socket, method, path, { body, quietMs });
    } catch (error) {
      if (error instanceof NobodyThere) continue;
      say(
        `The server did not answer to the end (${(error as Error).message}). Ask again, or look at the page.`,
      );
      return null;
    }
  }
  say(
    `No server answers at ${sockets[0]}. If one runs, its agents go on: run this as its account and with its BREAKGLASS_DATA_DIR, or use the page.`,
  );
  return null;
}

function failed(answer: ControlAnswer | null): number {
  if (answer !== null) say(detailOf(answer) ?? `The server answered ${answer.status}.`);
  return 1;
}
