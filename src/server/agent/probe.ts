import { lookup as systemLookup } from "node:dns";
import { Agent as HttpAgent, request as httpRequest, type ClientRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { LookupFunction } from "node:net";
import type { Clock } from "../clock.ts";

/** "unclear": something else stands in the way, and the agent itself may fare better. */
export type Probed =
  | { readonly kind: "reached" }
  | { readonly kind: "unreached"; readonly says: string }
  | { readonly kind: "unclear"; readonly says: string };

/** Then it counts as not reached. */
const probeMs = 5_000;
/** Of the answer's head; a longer one counts as no answer. Of a body nothing is read. */
const headBytesMax = 16 * 1024;

/**
 * Asks for the head of the model's place, without any credential, so that it costs nothing and gives nothing away; a
 * redirect is an answer, and is not followed. Goes through the proxies that the agent is given. Never rejects.
 */
export function probeModel(deps: {
  readonly clock: Clock;
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}): Promise<Probed> {
  const { clock, url, env, signal } = deps;
  const place = URL.parse(url);
  if (place === null) return Promise.resolve({ kind: "unclear", says: "ANTHROPIC_BASE_URL is no URL." });
  const where = place.host;
  return new Promise((resolve) => {
    let request: ClientRequest | undefined;
    const callOff = clock.after(probeMs, () =>
      settle({ kind: "unreached", says: unreachable(where, `no answer in ${probeMs / 1000} s`) }),
    );
    const aborted = () => settle({ kind: "unclear", says: "" });
    const settle = (probed: Probed) => {
      callOff();
      signal.removeEventListener("abort", aborted);
      resolve(probed.kind === "unreached" && hasOtherProxy(env) ? otherProxy(where) : probed);
      request?.destroy();
    };
    signal.addEventListener("abort", aborted, { once: true });
    try {
      request = ask(place, env);
      request.on("response", ({ statusCode }) => settle(judgeStatus(where, statusCode)));
      // Stays on: what a destroyed request has still to say is nobody's.
      request.on("error", (error) => settle(judgeError(where, error)));
      request.end();
    } catch (error) {
      settle(judgeError(where, error as Error));
    }
  });
}

function ask(place: URL, proxyEnv: Readonly<Record<string, string>>): ClientRequest {
  const secure = place.protocol === "https:";
  const options = {
    method: "HEAD",
    agent: secure ? new HttpsAgent({ proxyEnv }) : new HttpAgent({ proxyEnv }),
    lookup: oneAtATime,
    maxHeaderSize: headBytesMax,
    // A URL may hold a password.
    auth: undefined,
  };
  const bare = new URL(place.pathname, place.origin);
  return secure ? httpsRequest(bare, options) : httpRequest(bare, options);
}

/** Node knows proxies by HTTP alone, and passes over others; the agent may know them. */
const hasOtherProxy = (env: Readonly<Record<string, string>>) =>
  [env["HTTP_PROXY"], env["HTTPS_PROXY"]].some((proxy) => proxy !== undefined && !/^https?:/i.test(proxy));
const otherProxy = (where: string): Probed => ({
  kind: "unclear",
  says: `Whether the model (${where}) can be reached is not known: its proxy is of a kind that cannot be tried from here.`,
});

/** A resolver that hangs holds one of the four threads that the disk is reached by: never more than one. */
let resolving = false;
const oneAtATime: LookupFunction = (hostname, options, callback) => {
  if (resolving) return callback(new Error("its name is still being looked up"), "");
  resolving = true;
  systemLookup(hostname, options, (error, address, family) => {
    resolving = false;
    callback(error, address, family);
  });
};

/** Any answer means that it is reached, but these, which are of something in between. */
function judgeStatus(where: string, status: number | undefined): Probed {
  if (status === 407)
    return { kind: "unclear", says: `A proxy on the way to the model (${where}) wants a credential (407).` };
  if (status === 502 || status === 503 || status === 504)
    return { kind: "unclear", says: `Something answers in the model's place (${where}), with ${status}.` };
  return { kind: "reached" };
}

function judgeError(where: string, error: Error): Probed {
  const { code, message } = error as NodeJS.ErrnoException;
  if (
    code !== undefined &&
    /^(ERR_PROXY_INVALID_CONFIG|ERR_TLS_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/.test(code)
  )
    return { kind: "unclear", says: `The model (${where}) could not be looked at from here: ${message}.` };
  return { kind: "unreached", says: unreachable(where, causes.get(code ?? "") ?? message) };
}

const causes: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "it refuses connections"],
  ["ECONNRESET", "the connection broke"],
  ["ENOTFOUND", "its name is not known"],
  ["EAI_AGAIN", "names cannot be looked up"],
  ["ENETUNREACH", "there is no way to it"],
  ["EHOSTUNREACH", "there is no way to it"],
  ["ETIMEDOUT", "it does not answer"],
]);

const unreachable = (where: string, why: string) =>
  `The model (${where}) cannot be reached: ${why}. Check the network and ANTHROPIC_BASE_URL.`;
