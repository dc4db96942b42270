import type { IncomingMessage } from "node:http";

/** What identity is judged by: nothing that Node has already merged or dropped. */
export interface AuthRequest {
  readonly method: string;
  /** Name, value, name, value, ... as they came (IncomingMessage.rawHeaders). */
  readonly rawHeaders: readonly string[];
  /** The peer of the socket, never what a header says of it. undefined: it is gone already. */
  readonly remoteAddress: string | undefined;
}

export function authRequest(message: IncomingMessage): AuthRequest {
  const { method = "GET", rawHeaders, socket } = message;
  return { method, rawHeaders, remoteAddress: socket.remoteAddress };
}

/** All values of a header, in order; `name` in any case. */
export function headerValues({ rawHeaders }: AuthRequest, name: string): readonly string[] {
  const wanted = name.toLowerCase();
  const values: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    if (rawHeaders[at]!.toLowerCase() === wanted) values.push(rawHeaders[at + 1]!.trim());
  }
  return values;
}

/**
 * Names that are not `name` but would be to software that folds punctuation (CGI, WSGI, some gateways): a proxy that cleans
 * `X-User` lets `X_User` through.
 */
export function otherSpellings({ rawHeaders }: AuthRequest, name: string): readonly string[] {
  const wanted = name.toLowerCase();
  const folded = foldPunctuation(wanted);
  const found: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const other = rawHeaders[at]!.toLowerCase();
    if (other !== wanted && foldPunctuation(other) === folded) found.push(other);
  }
  return found;
}

function foldPunctuation(name: string): string {
  return name.replace(/[^a-z0-9]/g, "-");
}
