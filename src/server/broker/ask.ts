/** What an agent typed behind `ssh`, understood; or a sentence that says what to type instead. */
export type Asked =
  | {
      readonly kind: "run";
      readonly user: string | null;
      readonly alias: string;
      readonly command: string;
      /** False with -n: the command is given nothing to read. */
      readonly stdin: boolean;
    }
  | { readonly kind: "unclear"; readonly alias: string | null; readonly sentence: string };

/** Options of ssh(1) that change nothing here: account, address, port and key are the Broker's own. */
const harmless = new Set("46AaCgKknqTtvXxYy");
const harmlessWithValue = new Set("BbceFimoPp");
/** Forwarding, masters, backgrounding and the like. */
const unsupportedWithValue = new Set("DEIJLOQRSWw");

/** As ssh(1) does it: with no command the account's own shell reads its commands from stdin. */
const shellCommand = 'exec "$SHELL"';

/**
 * ssh(1)'s own reading of its arguments: options may stand before and after the destination, `--` ends them. `hasStdin`: it is
 * a pipe or a file, neither a terminal nor /dev/null.
 */
export function parseSsh(argv: readonly string[], hasStdin = false): Asked {
  const words = [...argv];
  let destination: string | null = null;
  let user: string | null = null;
  let stdin = true;
  const unclear = (sentence: string): Asked => ({ kind: "unclear", alias: destination, sentence });

  while (words.length > 0) {
    const word = words[0]!;
    if (!word.startsWith("-") || word === "-") {
      if (destination !== null) break;
      destination = words.shift()!;
      continue;
    }
    words.shift();
    if (word === "--") {
      destination ??= words.shift() ?? null;
      break;
    }
    for (let at = 1; at < word.length; at++) {
      const option = word[at]!;
      if (option === "n") stdin = false;
      if (harmless.has(option)) continue;
      if (option !== "l" && !harmlessWithValue.has(option)) {
        const value = unsupportedWithValue.has(option) ? " …" : "";
        return unclear(`the option -${option}${value} is not supported here. Type: ssh devvm 'command'`);
      }
      // The rest of the word is the value, or else the next word.
      const value = word.slice(at + 1) || words.shift();
      if (value === undefined) return unclear(`the option -${option} needs a value.`);
      if (option === "l") user ??= value;
      break;
    }
  }
  if (destination === null || destination === "")
    return unclear("no machine was named. Type: ssh devvm 'command'");
  const [, address] = /^ssh:\/\/(.*?)(?::\d{1,5})?\/?$/.exec(destination) ?? [];
  destination = address ?? destination;
  const at = destination.lastIndexOf("@");
  const alias = destination.slice(at + 1);
  // As in ssh(1), what stands in the destination wins over -l.
  if (at > 0) user = destination.slice(0, at);
  destination = alias;
  const command = words.join(" ");
  if (command.trim() === "" && hasStdin && stdin)
    return { kind: "run", user, alias, command: shellCommand, stdin };
  if (command.trim() === "")
    return unclear(
      `an interactive shell is not available here. Give the command: ssh ${alias} 'command', or a script: ssh ${alias} 'bash -s' < FILE`,
    );
  return { kind: "run", user, alias, command, stdin };
}
