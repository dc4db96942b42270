import { join } from "node:path";
import { connect, type Socket } from "node:net";
import type { Isolation } from "../../../protocol/api.ts";
import { inside } from "./fence.ts";
import { reachesServer } from "./namespaces.ts";
import { barePlaces } from "./none.ts";
import { remoteCage } from "./remote-cage.ts";
import type { Runner } from "./runner.ts";
import { decodeWelcome, encode, frame, Frames, wireVersion, type Welcome } from "./wire.ts";

/** Who does not say who it is by then is no runner, or hangs. */
const helloMsMax = 5_000;

export interface RemoteOptions {
  readonly socketPath: string;
  /** In a sentence: "the runner at /run/agent.sock". */
  readonly name: string;
  readonly says?: (welcome: Welcome | undefined) => Isolation;
  /** The runner does not end a cage that it was told to end. Default: nothing else can be done from here. */
  readonly onHung?: () => Promise<void>;
}

/** The server's end of a runner that is a program of its own. */
export function remoteRunner({ socketPath, name, says = saysOf(name), onHung }: RemoteOptions): Runner {
  let greeted: { readonly welcome: Welcome; readonly line: Socket } | undefined;
  let greeting: Promise<string | null> | undefined;
  return {
    isolation: () => says(greeted?.welcome),
    bringsAgent: true,
    async problem() {
      if (greeted !== undefined) return greeted.welcome.problem;
      return (greeting ??= greet().finally(() => (greeting = undefined)));
    },
    places({ session }) {
      const { welcome } = known();
      if (welcome.isolation === "bubblewrap") return inside;
      return barePlaces(session, { ...welcome, brokerSocket: join(welcome.doorsDir, session) });
    },
    start(order) {
      known();
      return remoteCage({ order, name, onHung, dial: () => connect(socketPath) });
    },
    async close() {
      greeted?.line.destroy();
    },
  };

  function known() {
    if (greeted === undefined) throw new Error(`${gone(name)} ${mend}`);
    return greeted;
  }

  /** Says hello, and holds the line: when it ends the runner is gone, and the next look asks anew. */
  function greet(): Promise<string | null> {
    const line = connect(socketPath);
    const frames = new Frames();
    return new Promise((resolve) => {
      const timer = setTimeout(() => fail(`it said nothing for ${helloMsMax / 1_000} s`), helloMsMax);
      const fail = (why: string) => {
        clearTimeout(timer);
        line.destroy();
        resolve(`The agent cannot be started: ${name} does not answer (${why}). ${mend}`);
      };
      line.on("error", (error) => fail(error.message));
      line.on("connect", () => line.write(encode(frame.hello)));
      line.on("close", () => {
        if (greeted?.line === line) greeted = undefined;
        fail("it hung up");
      });
      line.on("data", (chunk: Buffer) => {
        const whole = frames.take(chunk, (type, payload) => {
          const welcome = type === frame.welcome ? decodeWelcome(payload) : null;
          if (welcome === null)
            return fail(`it is no runner of this version: both must be of wire version ${wireVersion}`);
          clearTimeout(timer);
          greeted = { welcome, line };
          line.unref();
          resolve(welcome.problem);
        });
        if (!whole) fail("it spoke nonsense");
      });
    });
  }
}

const mend =
  "Start `breakglass runner --socket PATH` where the agent is to run, or correct BREAKGLASS_ISOLATION; look at what it logs. " +
  "The power buttons work without the agent.";
const gone = (name: string) => `${name[0]?.toUpperCase()}${name.slice(1)} is gone.`;

function saysOf(name: string) {
  return (welcome: Welcome | undefined): Isolation => {
    if (welcome === undefined)
      return { kind: "runner", says: `The agent is to be run by ${name}, which does not answer now.` };
    if (welcome.isolation === "none" && reachesServer(welcome))
      return { kind: "none", says: notConfined(name) };
    return { kind: "runner", says: `The agent is run by ${name}, ${cageOf(welcome)} ${network}` };
  };
}

const notConfined = (name: string) =>
  `Not confined: ${name} has no cage, and its account on the same machine can read all that this server can, the key included. ` +
  "Run it as another account, or in another container.";

/** What a program of its own confines by itself. */
export function cageOf({ isolation, uid }: Welcome): string {
  return isolation === "bubblewrap"
    ? `as uid ${uid} there, each session in a bubblewrap cage of its own.`
    : `as uid ${uid} there and without a cage: it reaches what that account reaches there, and all sessions share it.`;
}

const network =
  "Not confined: the network as far as it goes from there, and the model's credential, which is in its environment.";
