import { defaultPresets } from "../../src/server/presets.ts";
import { gulliblePrompt, repairPreset } from "../presets.ts";
import {
  diskCheck,
  gullible,
  memoryCheck,
  repair,
  serviceCheck,
  triage,
  wedgeCheck,
  type Play,
} from "./plays.ts";
import type { Answer, Script } from "./script.ts";

/** Between pieces of text, so that one can see it being written. */
const chunkDelayMs = 12;

const plays: Readonly<Record<string, Play>> = {
  Triage: triage,
  "Memory / OOM": memoryCheck,
  Disk: diskCheck,
  Services: serviceCheck,
  "QEMU wedged?": wedgeCheck,
  [repairPreset.name]: repair,
};

/**
 * The demo's stand-in for a model: plays the presets with true commands over SSH, and says what it read in their real
 * output. Anything else gets the plain answer that no model is configured.
 */
export const playbook: Script = ({ prompt, toolResults }) => {
  const play = playFor(prompt);
  if (play === undefined) return said(noModel);
  // A play is told again from its beginning for each answer: it has no memory but what the commands printed.
  const telling = play();
  let step = telling.next();
  for (const result of toolResults) {
    if (step.done === true) break;
    step = telling.next(result);
  }
  if (step.done === true) return said(step.value);
  const { note, command, description } = step.value;
  const call = { type: "tool_use" as const, name: "Bash", input: { command, description } };
  return {
    kind: "blocks",
    blocks: note === undefined ? [call] : [{ type: "text", text: note }, call],
    chunkDelayMs,
  };
};

/** By how the prompt ends: what an agent without its memory is told of before stands in front of it. */
function playFor(prompt: string): Play | undefined {
  const plain = (text: string) => text.replaceAll(/\s+/g, " ").trim();
  const asked = plain(prompt);
  if (asked.endsWith(plain(gulliblePrompt))) return gullible;
  const preset = [...defaultPresets, repairPreset].find((known) => asked.endsWith(plain(known.prompt)));
  return preset === undefined ? undefined : plays[preset.name];
}

const said = (text: string): Answer => ({ kind: "blocks", blocks: [{ type: "text", text }], chunkDelayMs });

const noModel = `No model is configured, so nobody here can read free text. What you see is the demo: the presets work, and each runs true commands over SSH on the demo machine and reports what they printed.

To have a model answer, set \`ANTHROPIC_API_KEY\` or \`CLAUDE_CODE_OAUTH_TOKEN\` in the environment of the server and start it again. The demo asks before it uses it.

One prompt it knows besides: *${gulliblePrompt}* Then it plays an agent that believes a forged line, and you see what holds.

The power sheet needs no model at all.`;
