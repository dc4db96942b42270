/** Everything is our own and from here; what is not named is forbidden. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "worker-src 'self'",
  "font-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const always = {
  "Content-Security-Policy": contentSecurityPolicy,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
} as const;

/** A year; without subdomains, which may be others'. */
const strictTransport = { "Strict-Transport-Security": "max-age=31536000" } as const;

/** What only the signed-in may see stays in no cache; a route with its own Cache-Control sets it over this. */
const privately = { "Cache-Control": "no-store" } as const;

/** The headers of every answer. `path` without its query. */
export function createSecurityHeaders({
  https,
}: {
  readonly https: boolean;
}): (path: string) => Readonly<Record<string, string>> {
  const open = { ...always, ...(https && strictTransport) };
  const closed = { ...open, ...privately };
  return (path) => (/^\/(?:api|rescue)(?:\/|$)/.test(path) ? closed : open);
}
