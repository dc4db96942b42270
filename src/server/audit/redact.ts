/** What stands where a secret stood. */
export const redactedMark = "[redacted]";

/**
 * The text without what looks like a secret: private keys, provider tokens, Authorization headers, `password=…`, credentials in
 * URLs. Patterns are conservative: what a person needs in order to understand a fault stays. Never throws, takes time linear in
 * the text, and changes nothing the second time. Sees one text at a time: a secret torn over two calls is not seen.
 */
export function redact(text: string): string {
  const open = redactKeyBlocks(text);
  let kept = "";
  let from = 0;
  secrets.lastIndex = 0;
  for (;;) {
    const found = secrets.exec(open);
    if (found === null) return kept + open.slice(from);
    const rule = rules.findIndex((_, n) => found.groups?.[`k${n}`] !== undefined);
    const lead = found.groups?.[`k${rule}`] ?? "";
    const start = found.index + lead.length;
    const stop = rules[rule]!.end(open, found.index + found[0].length, lead);
    if (stop > start) {
      kept += open.slice(from, start) + redactedMark;
      from = stop;
    }
    secrets.lastIndex = stop;
  }
}

/**
 * `kept` stands before the secret and stays, `secret` decides, and `end` says how far the secret goes on from there.
 *
 * Linear: `kept` and `secret` are bounded, and what `end` has run over is not looked at again. The same the second time: no part
 * matches a mark (but where a mark is the whole secret), and none looks at what stands around it, so that what did not match
 * beside a secret does not match beside its mark either.
 */
interface Rule {
  readonly kept: RegExp;
  readonly secret: RegExp;
  readonly end: (text: string, at: number, kept: string) => number;
}

const rules: readonly Rule[] = [
  // An Authorization header, in whatever notation; its scheme stays.
  {
    kept: /(?i:authorization\\?["']?[ \t]{0,4}[:=][ \t]{0,4}\\?["']?(?:(?:bearer|basic|digest|token|negotiate)[ \t]{1,4})?)/,
    secret: /(?:)/,
    end: (text, at) => endOfValue(text, at, /[^\s"'\\,;[]*/y),
  },
  // `PGPASSWORD=…`, `"client_secret": "…"`, `password: …`. Quoted values go to their quote or the end of the line.
  {
    kept: /(?i:(?:password|passwd|passphrase|_pwd|secret|secret_?key|api_?-?key|access_?-?key|private_?-?key|(?:access|refresh|auth|bearer|api|session|id|oauth)_?-?token|_token)(?:\\?["'])?[ \t]{0,4}(?:=>|[:=])[ \t]{0,4}(?:\\?["'])?)/,
    secret: /(?:)/,
    end: (text, at, kept) => endOfValue(text, at, valueAfter(kept)),
  },
  // `--password …` and the like.
  {
    kept: /--(?:password|passwd|passphrase|token|secret|api-key)[ \t]{1,4}(?!-)/,
    secret: /(?:)/,
    end: (text, at) => endOfValue(text, at, /[^\s"'\\;&|<>[]*/y),
  },
  {
    kept: /(?i:bearer)[ \t]{1,4}/,
    secret: /[A-Za-z0-9._~+/-]{20}/,
    end: (text, at) => endOf(text, at, /[A-Za-z0-9._~+/=-]*/y),
  },
  { kept: /(?:)/, secret: /sk-ant-[A-Za-z0-9_-]{8}/, end: (text, at) => endOf(text, at, /[A-Za-z0-9_-]*/y) },
  { kept: /(?:)/, secret: /gh[pousr]_[A-Za-z0-9]{20}/, end: (text, at) => endOf(text, at, /[A-Za-z0-9]*/y) },
  {
    kept: /(?:)/,
    secret: /github_pat_[A-Za-z0-9_]{20}/,
    end: (text, at) => endOf(text, at, /[A-Za-z0-9_]*/y),
  },
  { kept: /(?:)/, secret: /(?:AKIA|ASIA)[A-Z0-9]{16}/, end: (_, at) => at },
  // Password hashes as crypt(5) writes them.
  {
    kept: /(?:)/,
    secret: /\$(?:[156y]|2[abxy]|argon2id?)\$[A-Za-z0-9./$=,+-]{20}/,
    end: (text, at) => endOf(text, at, /[A-Za-z0-9./$=,+-]*/y),
  },
  // `https://user:password@host`, the user too: it may be a token. No slash in it, so that it is sought once for one `://`.
  {
    kept: /:\/\//,
    secret: /(?:[^\s/:@"'<>[]{0,64}:[^\s/@"'<>[]{1,256}|\[redacted\])(?=@)/,
    end: (_, at) => at,
  },
];

const secrets = new RegExp(
  rules.map(({ kept, secret }, n) => `(?<k${n}>${kept.source})${secret.source}`).join("|"),
  "g",
);

function valueAfter(kept: string): RegExp {
  if (kept.endsWith('\\"') || kept.endsWith("\\'")) return /[^"'\n\\[]*/y;
  if (kept.endsWith('"')) return /[^"\n[]*/y;
  if (kept.endsWith("'")) return /[^'\n[]*/y;
  return /[^\s"'\\;&,<>[]*/y;
}

/** Of a run of characters that may hold "[" too, up to a mark. */
function endOfValue(text: string, from: number, run: RegExp): number {
  let stop = from;
  for (;;) {
    stop = endOf(text, stop, run);
    if (text[stop] !== "[" || text.startsWith(redactedMark, stop)) return stop;
    stop++;
  }
}

function endOf(text: string, from: number, run: RegExp): number {
  run.lastIndex = from;
  return run.test(text) ? run.lastIndex : from;
}

const begin = /-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g;
const end = /-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g;

/** A block without its end within so many characters was cut; then its base64 goes as far as it reaches. */
const keyCharactersMax = 64 * 1024;

function redactKeyBlocks(text: string): string {
  let kept = "";
  let from = 0;
  /** Where the next end mark lies at or after; sought once for many beginnings. */
  let nextEnd: { readonly at: number; readonly stop: number } | null | undefined;
  for (begin.lastIndex = 0; ;) {
    const opened = begin.exec(text);
    if (opened === null) return kept + text.slice(from);
    const body = opened.index + opened[0].length;
    if (nextEnd === undefined || (nextEnd !== null && nextEnd.at < body)) nextEnd = findEnd(text, body);
    const whole = nextEnd !== null && nextEnd.at - body <= keyCharactersMax;
    const stop = whole ? nextEnd!.stop : endOfBase64(text, body);
    kept += text.slice(from, opened.index) + redactedMark;
    from = stop;
    begin.lastIndex = stop;
  }
}

function findEnd(text: string, from: number): { at: number; stop: number } | null {
  end.lastIndex = from;
  const found = end.exec(text);
  return found === null ? null : { at: found.index, stop: found.index + found[0].length };
}

/** Lines of base64, also with their breaks written as \n, up to the first word that is none. */
function endOfBase64(text: string, from: number): number {
  let stop = from;
  for (;;) {
    line.lastIndex = stop;
    if (!line.test(text)) break;
    stop = line.lastIndex;
  }
  lastLine.lastIndex = stop;
  return lastLine.test(text) ? lastLine.lastIndex : stop;
}

const lineBreak = /(?:[\s|>]|\\[nrt]|(?:Proc-Type|DEK-Info):[^\n\\]{0,100}){0,16}/;
const line = new RegExp(`${lineBreak.source}[A-Za-z0-9+/=]{24,}`, "y");
const lastLine = new RegExp(`${lineBreak.source}[A-Za-z0-9+/=]{1,23}\\s{0,8}$`, "y");
