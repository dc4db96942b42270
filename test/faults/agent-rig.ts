import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { startModel } from "../../demo/model/server.ts";
import type { Answer, Script } from "../../demo/model/script.ts";
import type { ApprovalAnswer, Mode, PendingApproval } from "../../src/protocol/api.ts";
import type { EventKind, StoredEvent } from "../../src/protocol/events.ts";
import type { SessionId } from "../../src/protocol/ids.ts";
import { spawnDemo } from "../demo/demo.ts";
import { startRelay } from "../doubles/relay.ts";
import { scratchFolder } from "../doubles/sessions.ts";
import { startSshd } from "../doubles/sshd.ts";
import { startServer, type RunningServer } from "../e2e/server.ts";
import { EventStream } from "../http/event-stream.ts";
import { askerOf, bearer, makeRig, patience, token } from "./rig.ts";

/**
 * The rig with a guest besides (a second real sshd, whose one account is privileged, so that every command of the agent
 * needs an Approval outside autonomous mode), the real agent in its cage, and a scripted model.
 */
export async function makeAgentRig(options: { readonly env?: Readonly<Record<string, string>> } = {}) {
  const guestDir = scratchFolder();
  const marks = scratchFolder();
  /** What the model was asked, over all Sessions, whole. */
  const heard: { readonly prompt: string; readonly body: string }[] = [];
  const model = await startModel({
    script: obedient,
    onRequest: ({ prompt }, body) => heard.push({ prompt, body: JSON.stringify(body) }),
  });
  let line: Awaited<ReturnType<typeof startRelay>> | null = null;
  onTestFinished(() => model.close());
  const rig = await makeRig({
    env: async (publicKey) => {
      const guest = await startSshd({ dir: guestDir, authorizedKeys: [publicKey] });
      const relay = await startRelay(guest.port);
      line = relay;
      onTestFinished(async () => {
        await relay.close();
        await guest.stop();
      });
      return {
        BREAKGLASS_DEVVM_HOST: `127.0.0.1:${relay.port}`,
        BREAKGLASS_DEVVM_USER: guest.user,
        BREAKGLASS_MAX_CONCURRENT_TURNS: "6",
        ANTHROPIC_BASE_URL: model.url,
        ANTHROPIC_API_KEY: "dummy-key-that-opens-nothing",
        ...options.env,
      };
    },
  });
  return {
    ...rig,
    ...operatorOf(rig),
    model,
    heard,
    /** A path on the guest where nothing is yet: something ran where it is. */
    mark(name: string) {
      const path = join(marks, name);
      return {
        path,
        exists: () => existsSync(path),
        text: () => readFileSync(path, "utf8"),
        /** A command that runs until something is there, or until the test is over. */
        awaited: `until [ -e ${path} ] || [ ! -d ${marks} ]; do sleep 0.1; done`,
        left: () => expect.poll(() => existsSync(path), patience).toBe(true),
      };
    },
    touch: (path: string) => writeFileSync(path, ""),
    /** The guest is gone for whoever asks from now on, and for whoever has asked. */
    endGuest() {
      line?.refuse();
      line?.cut();
    },
    /** Puts a file where the agent of a Session works. */
    write(session: SessionId, name: string, text: string) {
      const folder = join(rig.sessionsDir, session, "workspace");
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, name), text);
    },
  };
}

export type AgentRig = Awaited<ReturnType<typeof makeAgentRig>>;

/** A server over the demo's machine, with its two accounts, its fault, its forged log line, and its stand-in. */
export async function makeDemoRig() {
  const demo = await spawnDemo();
  onTestFinished(() => demo.end());
  const { guest, hypervisor, privateKeyPath, modelUrl } = demo.ready;
  const HOME = scratchFolder();
  const dataDir = join(HOME, "data");
  mkdirSync(dataDir, { mode: 0o700 });
  writeFileSync(
    join(dataDir, "known_hosts"),
    `[${hypervisor.host}]:${hypervisor.port} ${hypervisor.hostKey}\n`,
  );
  const server = await startServer({
    demo: false,
    env: {
      HOME,
      BREAKGLASS_DATA_DIR: dataDir,
      BREAKGLASS_DEVVM_HOST: `${guest.host}:${guest.port}`,
      BREAKGLASS_DEVVM_USER: guest.user,
      BREAKGLASS_OBSERVE_USER: guest.observeUser,
      BREAKGLASS_PVE_HOST: `${hypervisor.host}:${hypervisor.port}`,
      BREAKGLASS_PVE_USER: hypervisor.user,
      BREAKGLASS_KEY_PATH: privateKeyPath,
      ANTHROPIC_BASE_URL: modelUrl,
      ANTHROPIC_API_KEY: "the-stand-in-wants-none",
      API_BEARER_TOKEN: token,
    },
  });
  const ask = askerOf(() => server);
  return { demo, ask, ...operatorOf({ ask, server: () => server }) };
}

interface Reached {
  readonly ask: ReturnType<typeof askerOf>;
  readonly server: () => RunningServer;
}

/** What an Operator does over HTTP. */
function operatorOf(console: Reached) {
  const { ask } = console;
  const pending = async () => (await ask("GET", "/api/approvals")).body as unknown as PendingApproval[];
  return {
    async session(mode: Mode = "supervised") {
      const created = await ask("POST", "/api/session");
      const id = String(created.body["session_id"]) as SessionId;
      if (mode !== "supervised")
        expect(await ask("PATCH", `/api/session/${id}`, { mode })).toMatchObject({ status: 200 });
      return watched(console, id);
    },
    /** As it is after a restart. */
    again: (id: SessionId) => watched(console, id),
    /** Those that wait, when there are so many. */
    async waiting(count: number): Promise<readonly PendingApproval[]> {
      await expect.poll(async () => (await pending()).length, patience).toBe(count);
      return pending();
    },
    async decide({ session_id, approval, sha256 }: PendingApproval, decision: "approve" | "deny") {
      const path = `/api/session/${session_id}/approvals/${approval}`;
      const answer = await ask("POST", path, { decision, sha256 });
      return { status: answer.status, ...(answer.body as Partial<ApprovalAnswer> & { detail?: string }) };
    },
  };
}

/** One Session, followed by a client for as long as the server lives. */
async function watched({ ask, server }: Reached, id: SessionId) {
  const stream = await EventStream.open(`${server().origin}/api/session/${id}/stream`, bearer);
  const events = () =>
    stream.frames.flatMap((frame) => (frame.id === undefined ? [] : [frame.data as StoredEvent]));
  const of = <K extends EventKind>(kind: K) =>
    events().filter((event): event is Extract<StoredEvent, { kind: K }> => event.kind === kind);
  return {
    id,
    stream,
    events,
    of,
    async prompt(prompt: string) {
      expect(await ask("POST", `/api/session/${id}/prompt`, { prompt })).toMatchObject({ status: 200 });
    },
    /** Until so many Turns have ended in this Session. */
    ended: (turns = 1) => stream.until(() => of("turn_end").length >= turns),
    saw: (holds: (event: StoredEvent) => boolean) => stream.until(() => events().some(holds)),
    /** What the agent has said, all of it. */
    said: () =>
      of("text")
        .map(({ text }) => text)
        .join("\n"),
    /** What its commands printed, as the agent was told. */
    told: () =>
      of("tool_result")
        .map(({ text }) => text)
        .join("\n"),
  };
}

export type Watched = Awaited<ReturnType<typeof watched>>;

/** Prompts: `run`, then a command of the agent's own shell on each line; `think`: it never comes to an end; else it says a word. */
const obedient: Script = ({ prompt, step, toolResult }): Answer => {
  const [word, ...lines] = prompt.split("\n");
  if (word === "think") return { kind: "hang", blocks: [{ type: "text", text: "Thinking about it. " }] };
  if (word !== "run") return said(`Heard: ${prompt}`);
  const command = lines[step];
  return command === undefined
    ? said(`Done. ${toolResult?.text ?? ""}`)
    : { kind: "blocks", blocks: [{ type: "tool_use", name: "Bash", input: { command } }] };
};

const said = (text: string): Answer => ({ kind: "blocks", blocks: [{ type: "text", text }] });
