/**
 * Whether a name matches a pattern of `*`, `?` and `\x` (x itself), as a shell's do. By hand and not by an expression:
 * the steps are bounded by the product of the lengths, whatever somebody types.
 */
export function globMatches(pattern: string, name: string): boolean {
  const signs = [...pattern.matchAll(/\\([\s\S])|([\s\S])/g)].map(([, escaped, plain]) =>
    escaped === undefined
      ? { sign: plain!, wild: plain === "*" || plain === "?" }
      : { sign: escaped, wild: false },
  );
  let at = 0;
  let sign = 0;
  let star = -1;
  let resume = 0;
  while (at < name.length) {
    const wanted = signs[sign];
    if (wanted?.wild === true && wanted.sign === "*") {
      star = sign++;
      resume = at;
    } else if (wanted !== undefined && (wanted.wild || wanted.sign === name[at])) {
      sign++;
      at++;
    } else if (star >= 0) {
      // The last star takes one more, and the rest is tried again.
      sign = star + 1;
      at = ++resume;
    } else return false;
  }
  return signs.slice(sign).every((left) => left.wild && left.sign === "*");
}
