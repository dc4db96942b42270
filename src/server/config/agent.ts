import { fileURLToPath } from "node:url";
import path from "node:path";
import type { Mode } from "../../protocol/api.ts";
import type { AgentConfig, IsolationChoice } from "./config.ts";
import { complain, notShown, shown, type Findings } from "./findings.ts";
import { readNumber } from "./numbers.ts";
import { absolutePath, type OptionName, type Read } from "./options.ts";
import { isAccount, parseHttpUrl } from "./values.ts";

const definitionsDir = fileURLToPath(new URL("../../../agents/", import.meta.url));

/** Further prompts are refused with 429 while so many Turns run. */
const turnsAtOnce = { default: 3, min: 1, max: 32, whole: true };
/** Then the Turn is ended and says so. */
const turnSeconds = { default: 1800, min: 0.1, max: 86_400, whole: false };
/** A Turn that says nothing for so long, while the broker is idle, has hung: some hangs give no event at all. */
const silenceTimeoutSeconds = 180;
/** Requests to the model in one Turn; then it is ended and says so. Whoever wants more says "go on". */
const modelCallsMax = 100;
/** What the model may write in one Turn, thoughts and inputs of tools included; then it is ended and says so. */
const outputCharsMax = 16 * 1024 * 1024;
/** In USD. The model call that exceeds it is the Turn's last one; unset: no limit. */
const turnCost = { min: 0.01, max: 10_000, whole: false };
/** Beyond these the process idle for longest is ended, and resumed by its next Turn: each holds about 273 MB. */
const agentsWarmMax = 3;

/** With any option of the agent wrong, Turns are refused rather than run otherwise than meant; Verbs and the page go on. */
export function readAgent(
  read: Read,
  findings: Findings,
): { readonly agent: AgentConfig; readonly mode: Mode; readonly isolation: IsolationChoice } {
  const before = findings.problems.length;
  const agent = {
    definitionPath: readDefinition(read, findings),
    model: readModel(read, findings),
    claudePath: readExecutable(read),
    maxConcurrentTurns: readNumber(read, "BREAKGLASS_MAX_CONCURRENT_TURNS", turnsAtOnce, refused, findings),
    turnTimeoutSeconds: readNumber(read, "BREAKGLASS_TURN_TIMEOUT_SECONDS", turnSeconds, refused, findings),
    silenceTimeoutSeconds,
    modelCallsMax,
    outputCharsMax,
    turnCostUsdMax: readTurnCost(read, findings),
    warmMax: agentsWarmMax,
    credentials: readModelCredentials(read, findings),
  };
  // The strictest of each stands in for a word that is not understood.
  const mode = readWord(read, "BREAKGLASS_MODE", modes, { unset: "supervised", wrong: "observe" }, findings);
  const isolation = readIsolation(read, findings);
  const wrong = findings.problems.slice(before).map(({ option }) => option);
  const problem =
    wrong.length === 0
      ? null
      : `The agent is off, because of ${wrong.join(", ")}; power and state work. Mend the configuration and start again.`;
  return { agent: { ...agent, problem }, mode, isolation };
}

const refused = "Turns are refused until then; power and state work.";
const modes: readonly Mode[] = ["observe", "supervised", "autonomous"];

/** A unix socket's path has 107 bytes at most (unix(7)). */
const socketBytesMax = 107;

/** The strictest stands in for what is not understood, and Turns are refused. */
function readIsolation(read: Read, findings: Findings): IsolationChoice {
  const option = "BREAKGLASS_ISOLATION";
  const value = read(option) ?? "auto";
  if (value === "auto" || value === "bubblewrap" || value === "none") return { kind: value };
  const [, kind, rest = ""] = /^(account|runner):(.+)$/.exec(value) ?? [];
  if (kind === "account" && isAccount(rest)) return { kind, account: rest };
  if (kind === "runner" && path.isAbsolute(rest) && Buffer.byteLength(rest) <= socketBytesMax)
    return { kind, socketPath: path.normalize(rest) };
  const words = "auto, bubblewrap, none, account:NAME, or runner:/path/of/its/socket";
  complain(findings, option, shown(value), `It must be ${words}. ${refused}`);
  return { kind: "auto" };
}

/** A path, or the bare name of a definition that comes with Breakglass. */
function readDefinition(read: Read, findings: Findings): string {
  const option = "BREAKGLASS_AGENT";
  const value = read(option) ?? "breakglass";
  if (value.includes("/") || value.endsWith(".md")) return absolutePath(read, value);
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(value))
    complain(
      findings,
      option,
      shown(value),
      `It must be the path of a definition, or a name in agents/. ${refused}`,
    );
  return path.join(definitionsDir, `${value}.md`);
}

function readTurnCost(read: Read, findings: Findings): number | null {
  const option = "BREAKGLASS_TURN_COST_MAX_USD";
  if (read(option) === undefined) return null;
  return readNumber(read, option, { ...turnCost, default: turnCost.min }, refused, findings);
}

function readExecutable(read: Read): string | null {
  const value = read("BREAKGLASS_CLAUDE");
  return value === undefined ? null : absolutePath(read, value);
}

function readModel(read: Read, findings: Findings): string | null {
  const model = read("BREAKGLASS_MODEL");
  if (model === undefined) return null;
  if (!/^[A-Za-z0-9][A-Za-z0-9._:@/[\]-]{0,127}$/.test(model))
    complain(
      findings,
      "BREAKGLASS_MODEL",
      shown(model),
      `It must be a model's name, as the provider writes it. ${refused}`,
    );
  return model;
}

function readModelCredentials(read: Read, findings: Findings): Record<string, string> {
  const credentials: Record<string, string> = {};
  for (const option of ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"] as const) {
    const value = read(option);
    if (value === undefined) continue;
    if (!/^[\x21-\x7e]{1,4096}$/.test(value))
      complain(
        findings,
        option,
        notShown,
        `It cannot be sent: it must be printable ASCII without spaces. ${refused}`,
      );
    credentials[option] = value;
  }
  const url = read("ANTHROPIC_BASE_URL");
  if (url === undefined) return credentials;
  // Without it prompts and the key would go to another place than was meant.
  if (parseHttpUrl(url) === undefined)
    complain(findings, "ANTHROPIC_BASE_URL", shown(url), `It must be an http or https URL. ${refused}`);
  return { ...credentials, ANTHROPIC_BASE_URL: url };
}

function readWord<W extends string>(
  read: Read,
  option: OptionName,
  words: readonly W[],
  otherwise: { readonly unset: W; readonly wrong: W },
  findings: Findings,
): W {
  const value = read(option);
  if (value === undefined) return otherwise.unset;
  const word = words.find((candidate) => candidate === value);
  if (word === undefined)
    complain(findings, option, shown(value), `It must be ${words.join(", ")}. ${refused}`);
  return word ?? otherwise.wrong;
}
