/** Where the system's programs are when nobody says otherwise. */
export const systemPath = "/usr/local/bin:/usr/bin:/bin";

/** The PATH that ours are looked for in. */
export function programPath(env: Readonly<Record<string, string | undefined>>): string {
  return env["PATH"] ?? systemPath;
}
