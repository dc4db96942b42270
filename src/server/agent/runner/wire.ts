import { z } from "zod";
import { isUuid, type Uuid } from "../../../protocol/ids.ts";
import { encode, Frames } from "../../process/frames.ts";

/**
 * Between the server's Runner and a runner that is a program of its own. The server connects; the first frame of a
 * connection says what it is for:
 * - `hello` asks who is there, and stays open for as long as the runner lives;
 * - `start` starts a cage, and is its life: when this connection drops, the cage ends;
 * - `park` lends the cage a way back. It stays silent until the agent knocks at its door; then comes one byte, `knocked`,
 *   and from there on the agent's bytes and the Broker's answer as they are. So one socket is all that both sides share.
 */
export const frame = {
  hello: 1,
  start: 2,
  park: 3,
  // From the server, on a cage's connection.
  stdin: 4,
  stdinEnd: 5,
  sweep: 6,
  kill: 14,
  // From the runner.
  welcome: 7,
  started: 8,
  /** One frame of stdin was taken by the agent: the next may come. */
  taken: 9,
  stdout: 10,
  stderr: 11,
  swept: 12,
  /** Last. */
  exit: 13,
} as const;

/** Both sides are to be of one version: another number is refused with a sentence. */
export const wireVersion = 1;
/** Of stdin in one frame. */
export const pieceBytesMax = 64 * 1024;
export const knocked = Buffer.from([1]);
/** Of a trial, as `doctor` makes it: what it has kept goes with its cage. */
export const trialSession: Uuid = "00000000-0000-4000-8000-000000000000";

const id = z.custom<Uuid>(isUuid);

const welcomeShape = z.object({
  version: z.literal(wireVersion),
  isolation: z.enum(["bubblewrap", "none"]),
  /** null: agents can be started. */
  problem: z.string().nullable(),
  uid: z.number(),
  /** What of the machine it sees (`namespacesHere`): in another container it is another. */
  namespaces: z.object({ pid: z.string(), mnt: z.string() }),
  /** Where its Sessions keep their state, and where their doors are: of use where there is no cage. */
  sessionsDir: z.string(),
  doorsDir: z.string(),
  binDir: z.string(),
  nodeDir: z.string(),
  executable: z.string(),
});
export type Welcome = z.infer<typeof welcomeShape>;

const orderShape = z.object({
  cage: id,
  session: id,
  args: z.array(z.string()),
  env: z.record(z.string(), z.string()),
});
export type WireOrder = z.infer<typeof orderShape>;

const parkShape = z.object({ cage: id });

const exitShape = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("exited"), code: z.number() }),
  z.object({ kind: z.literal("signalled"), signal: z.string() }),
  z.object({ kind: z.literal("not_started"), reason: z.string() }),
]);
export type WireExit = z.infer<typeof exitShape>;

/** null: it is none. */
export const decodeWelcome = (payload: Buffer) => parsed(welcomeShape, payload);
export const decodeOrder = (payload: Buffer) => parsed(orderShape, payload);
export const decodePark = (payload: Buffer) => parsed(parkShape, payload);
export const decodeExit = (payload: Buffer) => parsed(exitShape, payload);
export const encodeJson = (type: number, value: unknown) => encode(type, Buffer.from(JSON.stringify(value)));
export { encode, Frames };

function parsed<T>(shape: z.ZodType<T>, payload: Buffer): T | null {
  try {
    return shape.safeParse(JSON.parse(payload.toString())).data ?? null;
  } catch {
    return null;
  }
}
